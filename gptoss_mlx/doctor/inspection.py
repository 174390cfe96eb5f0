"""What an issue has to say of its machine: device, memory, disk, versions, models."""

from __future__ import annotations

import platform
import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from gptoss_mlx import __version__, store
from gptoss_mlx.device import Machine, this_machine
from gptoss_mlx.errors import storage_errors

__all__ = ["PACKAGES", "Inspection", "inspect_machine"]

PACKAGES = ("mlx", "numpy", "tiktoken", "huggingface_hub", "rich", "typer", "mlx-lm")
"""Whose versions a report tells; the last is needed by none of the commands."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What an issue has to say of the machine that it happened on.

    Attributes:
        version: Of gptoss-mlx.
        home: Where models are kept.
        free_bytes: Of the disk there.
        versions: By package; None for one that is not installed.
        models: Names and states of those in the store.
    """

    version: str
    system: str
    python: str
    machine: Machine
    home: str
    free_bytes: int
    versions: dict[str, str | None]
    models: dict[str, str]


def inspect_machine() -> Inspection:
    """Look at the machine. Nothing is loaded, and nothing is asked of a network.

    Raises:
        StorageError: The store cannot be looked at.
    """
    home = store.home()
    return Inspection(
        version=__version__,
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        machine=this_machine(),
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
