"""Detects where a checkpoint comes from."""

from __future__ import annotations

import re
from pathlib import Path

from gptoss_mlx.checkpoint.folder import Checkpoint
from gptoss_mlx.checkpoint.layout import Layout
from gptoss_mlx.files import has_file, read_file
from gptoss_mlx.manifest import Provenance

__all__ = ["provenance_of", "source_name"]

_LAYOUTS = {
    Layout.HUGGING_FACE: "huggingface",
    Layout.OPENAI: "original",
    Layout.MLX: "mlx",
}
# huggingface_hub writes three short lines.
MAX_METADATA_BYTES = 1 << 16

_REVISION = re.compile(r"[0-9a-f]{40}")


def provenance_of(checkpoint: Checkpoint) -> Provenance:
    """Detect the origin of ``checkpoint`` from the layout of huggingface_hub's folders.

    Its cache has ``models--OWNER--NAME/snapshots/REVISION``; a download folder
    keeps the revision in ``.cache/huggingface``.

    Raises:
        StorageError: The folder cannot be read.
    """
    folder = checkpoint.folder.absolute()
    root = _root(folder)
    repository, revision = _repository(root), None
    if repository is not None:
        revision = root.name
    elif not _is_snapshot(root):
        revision = _downloaded_revision(root, folder)
    name = source_name(checkpoint.folder)
    return Provenance(_LAYOUTS[checkpoint.layout], repository, revision, name)


def source_name(folder: Path) -> str:
    """Return the name of a checkpoint: its repository's, if known, or its folder's."""
    root = _root(folder.absolute())
    repository = _repository(root)
    return repository.rpartition("/")[2] if repository else root.name


def _root(folder: Path) -> Path:
    return folder.parent if folder.name == "original" else folder


def _is_snapshot(root: Path) -> bool:
    return root.parent.name == "snapshots" and bool(_REVISION.fullmatch(root.name))


def _repository(root: Path) -> str | None:
    kind, _, name = root.parent.parent.name.partition("--")
    if _is_snapshot(root) and kind == "models" and name:
        return name.replace("--", "/")
    return None


def _downloaded_revision(root: Path, folder: Path) -> str | None:
    file = (folder / "config.json").relative_to(root)
    metadata = root / ".cache" / "huggingface" / "download" / f"{file}.metadata"
    if not has_file(metadata):
        return None
    content = read_file(metadata, max_bytes=MAX_METADATA_BYTES)
    first = content.decode(errors="replace").partition("\n")[0]
    return first if _REVISION.fullmatch(first) else None
