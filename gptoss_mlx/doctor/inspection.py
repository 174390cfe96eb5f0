"""Facts about the machine for an issue: device, memory, disk, versions, models."""

from __future__ import annotations

import os
import platform
import re
import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

import mlx.core as mx

from gptoss_mlx import __version__, store
from gptoss_mlx.device import Machine, this_machine
from gptoss_mlx.doctor.mac import Mac, advice, read_mac
from gptoss_mlx.errors import StorageError, storage_errors
from gptoss_mlx.home import home

__all__ = ["PACKAGES", "Buffers", "Inspection", "inspect_machine", "wheel_tag"]

PACKAGES = ("mlx", "numpy", "tiktoken", "huggingface_hub", "rich", "typer", "mlx-lm")
"""Packages whose versions are reported; no command needs the last one."""

# The package, and the packages with its compiled part on each system.
WHEELS = ("mlx", "mlx-metal", "mlx-cpu", "mlx-cuda-12", "mlx-cuda-13")

VARIABLES = ("MLX_", "GPTOSS")


@dataclass(frozen=True, slots=True)
class Buffers:
    """MLX's memory, in bytes.

    Attributes:
        active_bytes: Memory in use.
        cache_bytes: Freed memory that is kept.
        cache_limit_bytes: The most freed memory to keep.
    """

    active_bytes: int
    cache_bytes: int
    cache_limit_bytes: int


@dataclass(frozen=True, slots=True)
class Inspection:
    """Facts about the machine.

    Attributes:
        version: Version of gptoss-mlx.
        home: Folder of the models.
        free_bytes: Free space on its disk.
        versions: Versions by package; None if it is not installed.
        wheels: The installed build of MLX: a wheel tag by package.
        environment: Variables that change the behaviour of MLX or this program.
        buffers: MLX's memory now.
        mac: The state of macOS; None on another system.
        advice: Settings that the user should know or change.
        models: Names and states of the stored models.
        problem: Why models cannot be stored there; None if they can.
    """

    version: str
    system: str
    python: str
    machine: Machine
    home: str
    free_bytes: int
    versions: dict[str, str | None]
    wheels: dict[str, str]
    environment: dict[str, str]
    buffers: Buffers
    mac: Mac | None
    advice: tuple[str, ...]
    models: dict[str, str]
    problem: str | None = None


def inspect_machine() -> Inspection:
    """Collect the facts. Nothing is loaded, and the network is not used."""
    home, free_bytes, models, problem = _look_at_store()
    machine, mac = this_machine(), read_mac()
    tags = {name: wheel_tag(_wheel_file(name)) for name in WHEELS}
    wheels = {name: tag for name, tag in tags.items() if tag}
    return Inspection(
        version=__version__,
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        machine=machine,
        home=home,
        free_bytes=free_bytes,
        versions={name: _version(name) for name in PACKAGES},
        wheels=wheels,
        environment={
            name: value
            for name, value in sorted(os.environ.items())
            if name.startswith(VARIABLES)
        },
        buffers=_buffers(),
        mac=mac,
        advice=advice(machine, wheels, mac),
        models=models,
        problem=problem,
    )


def _look_at_store() -> tuple[str, int, dict[str, str], str | None]:
    """Return where it is, the free bytes there, its models, and what is wrong with it."""
    try:
        folder = home()
        models = {model.name: _state(model) for model in store.models()}
        return str(folder), _free_bytes(folder), models, None
    except StorageError as error:
        return os.environ.get("GPTOSS_MLX_HOME") or "~", 0, {}, str(error)


def wheel_tag(text: str) -> str | None:
    """Return the tag in a wheel's WHEEL file; the last one if there are several."""
    tags = re.findall(r"^Tag:\s*(\S+)", text, re.M)
    return tags[-1] if tags else None


def _wheel_file(package: str) -> str:
    try:
        return distribution(package).read_text("WHEEL") or ""
    except PackageNotFoundError:
        return ""


def _buffers() -> Buffers:
    # MLX returns its limit only when it is set.
    limit = mx.set_cache_limit(mx.get_memory_limit())
    mx.set_cache_limit(limit)
    return Buffers(mx.get_active_memory(), mx.get_cache_memory(), limit)


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
