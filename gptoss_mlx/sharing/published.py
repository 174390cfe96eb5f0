"""What is published of the release that a converted model is compared with."""

from __future__ import annotations

import shlex
from pathlib import Path

from gptoss_mlx.config import RELEASED
from gptoss_mlx.config_json import read_config
from gptoss_mlx.convert.release import Published
from gptoss_mlx.errors import VerifyError
from gptoss_mlx.manifest import FileEntry
from gptoss_mlx.sharing.releases import RELEASES
from gptoss_mlx.store import model_size

__all__ = ["published_of"]


def published_of(folder: Path) -> Published:
    """Return what is published of the model in ``folder``, by its number of layers.

    Raises:
        VerifyError: It is neither gpt-oss-20b nor gpt-oss-120b.
        ConfigError: Its config.json is wrong.
        StorageError: The system refuses.
    """
    config = read_config(folder)
    size = model_size(config)
    if size is None:
        names = " or ".join(release.repository for release in RELEASES.values())
        raise VerifyError(
            f"--release compares with {names}, but {folder} has "
            f"{config.num_hidden_layers} layers of {config.num_local_experts} experts.",
            hint="Compare it with its source: "
            f"gptoss-mlx verify {shlex.quote(str(folder))} --against SRC",
        )
    release = RELEASES[size]
    files = {name: FileEntry(*pin) for name, pin in release.files.items()}
    return Published(release.repository, release.revision, files, RELEASED[size])
