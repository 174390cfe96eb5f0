"""Where a checkpoint comes from, as far as its folder tells."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Any

from gptoss_mlx.checkpoint.folder import Checkpoint
from gptoss_mlx.checkpoint.layout import Layout
from gptoss_mlx.errors import storage_errors
from gptoss_mlx.files import has_file, read_file
from gptoss_mlx.manifest import Provenance

__all__ = ["identity_of", "provenance_of"]

_LAYOUTS = {
    Layout.HUGGING_FACE: "huggingface",
    Layout.OPENAI: "original",
    Layout.MLX: "mlx",
}
# huggingface_hub writes three short lines.
MAX_METADATA_BYTES = 1 << 16

_REVISION = re.compile(r"[0-9a-f]{40}")


def provenance_of(checkpoint: Checkpoint) -> Provenance:
    """Tell where ``checkpoint`` comes from by how huggingface_hub lays folders out.

    Its cache has ``models--OWNER--NAME/snapshots/REVISION``; a folder it downloads to
    keeps the revision in ``.cache/huggingface``.

    Raises:
        StorageError: The folder cannot be read.
    """
    folder = checkpoint.folder.absolute()
    root = folder.parent if folder.name == "original" else folder
    repository, revision = None, None
    if root.parent.name == "snapshots" and _REVISION.fullmatch(root.name):
        kind, _, name = root.parent.parent.name.partition("--")
        if kind == "models" and name:
            repository, revision = name.replace("--", "/"), root.name
    else:
        revision = _downloaded_revision(root, folder)
    name = repository.rpartition("/")[2] if repository else root.name
    return Provenance(_LAYOUTS[checkpoint.layout], repository, revision, name)


def identity_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """Describe the files of ``checkpoint`` so that a change of any of them shows.

    Raises:
        StorageError: A file cannot be read.
    """
    config = checkpoint.folder / "config.json"
    files = sorted(
        {Path(os.path.realpath(tensor.path)) for tensor in checkpoint.files.values()}
    )
    with storage_errors(checkpoint.folder):
        return {
            "config": hashlib.sha256(config.read_bytes()).hexdigest(),
            "files": [
                [str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files
            ],
        }


def _downloaded_revision(root: Path, folder: Path) -> str | None:
    file = (folder / "config.json").relative_to(root)
    metadata = root / ".cache" / "huggingface" / "download" / f"{file}.metadata"
    if not has_file(metadata):
        return None
    content = read_file(metadata, max_bytes=MAX_METADATA_BYTES)
    first = content.decode(errors="replace").partition("\n")[0]
    return first if _REVISION.fullmatch(first) else None
