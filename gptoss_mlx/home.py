"""The folder of everything that the program keeps: ``GPTOSS_MLX_HOME``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gptoss_mlx.errors import NoSpaceError, StorageError, storage_errors
from gptoss_mlx.files import expanded

__all__ = ["home", "home_errors"]


def home() -> Path:
    """Return the folder of all stored data; it may not exist yet.

    Raises:
        StorageError: The path is not a folder.
    """
    path = expanded(os.environ.get("GPTOSS_MLX_HOME") or "~/.gptoss-mlx")
    with storage_errors(path):
        if path.exists() and not path.is_dir():
            raise StorageError(
                f"{path} is not a folder.",
                hint="Set GPTOSS_MLX_HOME to a folder.",
            )
    return path


@contextmanager
def home_errors() -> Iterator[None]:
    """Name the variable that moves the home, where it cannot be written.

    Raises:
        StorageError: As it is, with another hint unless the disk is full.
    """
    try:
        yield
    except NoSpaceError:
        raise
    except StorageError as error:
        error.hint = "Name a folder that can be written: export GPTOSS_MLX_HOME=FOLDER"
        raise
