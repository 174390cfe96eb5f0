"""Errors, and the files that may cause them."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from unittest.mock import patch

import numpy as np
from tiny_checkpoint import write_safetensors

from gptoss_mlx import errors
from gptoss_mlx.checkpoint.safetensors import read_header
from gptoss_mlx.config_json import read_config
from gptoss_mlx.convert.verify import verify_checkpoint
from gptoss_mlx.errors import storage_errors
from gptoss_mlx.manifest import read_manifest
from shown_places.place import Paper, Shown, place

# Errors.


@place("a tensor's name")
def _(shown: Shown) -> None:
    raise errors.CheckpointError(f"{shown.text}: tensor {shown.text} is missing.")


@place("a file's name")
def _(shown: Shown) -> None:
    raise errors.CorruptFileError(shown.text, f"says {shown.text}.")


@place("a prompt cache's name")
def _(shown: Shown) -> None:
    raise errors.SavedCacheError(shown.text, f"says {shown.text}.")


@place("a hint")
def _(shown: Shown) -> None:
    raise errors.CheckpointError("It is wrong.", hint=f"Remove {shown.text}")


@place("the operating system's word")
def _(shown: Shown) -> None:
    with storage_errors(shown.folder):
        (shown.folder / shown.name).read_bytes()


@place("an error of the command line")
def _(shown: Shown) -> None:
    def fail(**options: object) -> None:
        raise errors.GptOssError(shown.text, hint=f"Try {shown.text}")

    with patch("gptoss_mlx.cli.app.app", fail):
        shown.command()


@place("what a full disk says")
def _(shown: Shown) -> None:
    def fail(**options: object) -> None:
        raise OSError(shown.text)

    with (
        patch("gptoss_mlx.cli.app.app", fail),
        patch("os.dup2"),
        patch("os.open"),
        patch.object(Paper, "fileno", lambda self: 1, create=True),
    ):
        shown.command()


# Files.


def manifest(shown: Shown, **keys: object) -> Path:
    """Write a manifest that is right but for these keys."""
    right = {
        "format": 1,
        "made_by": {},
        "source": {"layout": "", "repository": None, "revision": None, "folder": ""},
        "recipe": "q8",
        "files": {},
        "tensors": {},
    }
    (shown.folder / "manifest.json").write_text(json.dumps(right | keys))
    return shown.folder


@place("a manifest's format")
def _(shown: Shown) -> str:
    return str(read_manifest(manifest(shown, format=shown.text)))


@place("a manifest's sha256")
def _(shown: Shown) -> str:
    files = {shown.name: {"bytes": 1, "sha256": shown.text}}
    return str(read_manifest(manifest(shown, files=files)))


@place("a manifest's file that is missing")
def _(shown: Shown) -> str:
    files = {shown.name: {"bytes": 1, "sha256": "0" * 64}}
    return str(verify_checkpoint(manifest(shown, files=files)))


@place("a file that a manifest lacks")
def _(shown: Shown) -> str:
    (shown.folder / shown.name).touch()
    try:
        return str(verify_checkpoint(manifest(shown)))
    finally:
        (shown.folder / shown.name).unlink()


@place("a tensor that a manifest lacks")
def _(shown: Shown) -> str:
    path = shown.folder / "model.safetensors"
    write_safetensors(path, {shown.text: np.zeros(2, np.float32)})
    files = {path.name: {"bytes": path.stat().st_size, "sha256": "0" * 64}}
    try:
        return str(verify_checkpoint(manifest(shown, files=files)))
    finally:
        path.unlink()


@place("a dtype of safetensors")
def _(shown: Shown) -> str:
    entry = {"dtype": shown.text, "shape": [1], "data_offsets": [0, 1]}
    header = json.dumps({shown.text: entry}).encode()
    path = shown.folder / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0")
    try:
        return str(read_header(path))
    finally:
        path.unlink()


@place("a value of config.json")
def _(shown: Shown) -> str:
    (shown.folder / "config.json").write_text(json.dumps({"model_type": shown.text}))
    return str(read_config(shown.folder))
