"""What the machine is: device, memory, disk, versions, models."""

from __future__ import annotations

import platform
import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from gptoss_mlx import __version__, store
from gptoss_mlx.device import (
    compute_dtype,
    device_kind,
    device_name,
    memory_bytes,
    memory_limit_bytes,
)
from gptoss_mlx.errors import storage_errors

__all__ = ["PACKAGES", "Machine", "inspect_machine"]

PACKAGES = ("mlx", "numpy", "tiktoken", "huggingface_hub", "rich", "typer", "mlx-lm")
"""Whose versions a report tells; the last is needed by none of the commands."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What an issue has to say of the machine that it happened on.

    Attributes:
        device: As MLX calls it.
        kind: ``gpu`` or ``cpu``.
        dtype: What is computed in.
        memory_bytes: Of the machine.
        limit_bytes: What a program may use of it at once.
        home: Where models are kept.
        free_bytes: Of the disk there.
        versions: By package; None for one that is not installed.
        models: Names and states of those in the store.
    """

    version: str
    system: str
    python: str
    device: str
    kind: str
    dtype: str
    memory_bytes: int
    limit_bytes: int
    home: str
    free_bytes: int
    versions: dict[str, str | None]
    models: dict[str, str]


def inspect_machine() -> Machine:
    """Look at the machine. Nothing is loaded, and nothing is asked of a network.

    Raises:
        StorageError: The store cannot be looked at.
    """
    home = store.home()
    return Machine(
        version=__version__,
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        device=device_name(),
        kind=device_kind(),
        dtype=str(compute_dtype()).removeprefix("mlx.core."),
        memory_bytes=memory_bytes(),
        limit_bytes=memory_limit_bytes(),
        home=str(home),
        free_bytes=_free_bytes(home),
        versions={name: _version(name) for name in PACKAGES},
        models={model.name: _state(model) for model in store.models()},
    )


def _free_bytes(folder: Path) -> int:
    with storage_errors(folder):
        while not folder.exists():
            folder = folder.parent
        return shutil.disk_usage(folder).free


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _state(model: store.StoredModel) -> str:
    if model.unfinished:
        return "unfinished"
    return f"broken: {model.problem}" if model.problem else "ready"
