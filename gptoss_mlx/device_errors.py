"""What MLX says of a device that cannot compute, as an error with a name.

Source: https://github.com/ml-explore/mlx/tree/main/mlx/backend/metal
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from gptoss_mlx.errors import DeviceError, StorageError

__all__ = ["device_errors"]

# MLX begins a text with where it comes from. The rest is the driver's, and no closed list.
_ORIGIN = re.compile(
    r"\[(metal|metal::[^]]*|gpu::[^]]*|malloc[^]]*)\]|std::bad_alloc", re.I
)

# MLX compiles for the CPU in the folder of temporary files, by the first that is set.
_NO_TEMPORARY_FOLDER = re.compile(r"filesystem error: (in )?temp_directory_path")
_FOLDER_VARIABLES = ("TMPDIR", "TMP", "TEMP", "TEMPDIR")

# What a text has in it, what is then the rule, and what the reader can do.
_KINDS = (
    (
        re.compile(r"load_device|no metal device|not available", re.I),
        "There must be a GPU to compute on, but MLX finds none",
        "Run it on a Mac with Apple silicon, outside a sandbox or a virtual machine.",
    ),
    (
        re.compile(r"time-?out|timed out|interactivity", re.I),
        "The GPU must finish a step in time but was stopped",
        "Close other programs that use the GPU, or ask again with a shorter text.",
    ),
    (
        re.compile(r"memory|alloc|resource limit", re.I),
        "The memory must hold the model and what it reads, but is too small",
        "Close other programs, ask for fewer tokens, or take a smaller model.",
    ),
)


@contextmanager
def device_errors() -> Iterator[None]:
    """Raise what MLX says of memory that is out, or of the GPU, as a DeviceError.

    Raises:
        DeviceError: The device cannot compute. Its message has MLX's text.
        StorageError: There is no folder for temporary files.
        RuntimeError: Any other, as it is.
    """
    try:
        yield
    except MemoryError as error:
        raise _named(f"std::bad_alloc {error}") from error
    except RuntimeError as error:
        if _NO_TEMPORARY_FOLDER.match(str(error)):
            raise _no_temporary_folder() from error
        if _ORIGIN.match(str(error)) is None:
            raise
        raise _named(str(error)) from error


def _named(text: str) -> DeviceError:
    said = " ".join(text.split()).rstrip(".")
    for kind, rule, hint in _KINDS:
        if kind.search(said):
            return DeviceError(f"{rule}: {said}.", hint=hint)
    return DeviceError(f"The device must compute but failed: {said}.")


def _no_temporary_folder() -> StorageError:
    name = next((name for name in _FOLDER_VARIABLES if os.environ.get(name)), "TMPDIR")
    return StorageError(
        f"{name} must name a folder but is {os.environ.get(name, '/tmp')!r}.",  # noqa: S108
        hint=f"Set it to a folder: export {name}=/tmp",
    )
