"""Finds the folder of a converted model that a command names."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from gptoss_mlx.cli.output import say

__all__ = ["model_folder"]

_WITH_DIGEST = re.compile(r"(.+)@([0-9A-Fa-f]{32,64})", re.DOTALL)


def model_folder(model: str, find: Callable[[str], Path]) -> Path:
    """Return a model's folder; the demo model is made if it is missing.

    Args:
        model: A name or a folder, or the short line ``NAME@DIGEST`` that names a model
            and all of its bytes: then its manifest is compared with the digest.
        find: Finds the folder of a name.

    Raises:
        ModelNotFoundError: Neither a model nor a folder is called so.
        VerifyError: Its manifest has another digest.
        StorageError: It cannot be read, or the demo model not be written.
    """
    from gptoss_mlx.errors import ModelNotFoundError, VerifyError
    from gptoss_mlx.manifest_digest import digest_of

    try:
        return _found(model, find)
    except ModelNotFoundError:
        line = _WITH_DIGEST.fullmatch(model)
        if line is None:
            raise
    folder, wanted = _found(line[1], find), line[2].lower()
    digest = digest_of(folder)
    if not digest.startswith(wanted):
        raise VerifyError(
            f"{folder}: must have the digest {wanted} but has {digest[: len(wanted)]}.",
            hint="It is another model than was named, or it was changed.",
        )
    return folder


def _found(model: str, find: Callable[[str], Path]) -> Path:
    from gptoss_mlx.demo.folder import DEMO, open_demo
    from gptoss_mlx.errors import ModelNotFoundError

    try:
        return find(model)
    except ModelNotFoundError:
        if model != DEMO:
            raise
        return open_demo(say).folder
