"""Detects where a checkpoint comes from, and whether its files change."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gptoss_mlx.checkpoint.folder import Checkpoint
from gptoss_mlx.checkpoint.layout import INDEX, Layout
from gptoss_mlx.errors import ConvertError, storage_errors
from gptoss_mlx.files import FileIdentity, has_file, read_file
from gptoss_mlx.manifest import Provenance

__all__ = ["SourceFiles", "provenance_of"]

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


class SourceFiles:
    """The files that a conversion reads, to check at its end that none has changed."""

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        """Record the files' identities before any is read.

        Args:
            folder: The checkpoint's folder.
            names: The small files to record besides the checkpoint's own. Those of
                ``original/`` may be in the folder around it.

        Raises:
            StorageError: The folder cannot be read.
        """
        self._folder = folder
        self._names = frozenset(names) | {"config.json", INDEX}
        self._before = self._look()

    def identity(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """Describe the files of ``checkpoint``, so that any change can be detected."""
        # Without the device, whose number changes when a disk is reconnected.
        keys = json.dumps(checkpoint.config_keys, sort_keys=True)
        return {
            "config": hashlib.sha256(keys.encode()).hexdigest(),
            "files": [
                [os.path.realpath(path), *identity[1:]]
                for path, identity in sorted(self._before.items())
                if path.suffix == ".safetensors"
            ],
        }

    def check_unchanged(self) -> None:
        """Compare the files with their recorded identities.

        Raises:
            ConvertError: One was changed, replaced, removed or added.
            StorageError: The folder cannot be read.
        """
        now = self._look()
        for path in sorted(self._before.keys() | now.keys()):
            if self._before.get(path) != now.get(path):
                raise ConvertError(
                    f"{path} changed while it was converted.",
                    hint="Run the same command again, once nothing writes to the source.",
                )

    def _look(self) -> dict[Path, FileIdentity]:
        is_inner = self._folder.name == "original"
        folders = [self._folder, self._folder.parent] if is_inner else [self._folder]
        found = {}
        for folder in folders:
            with storage_errors(folder):
                for path in folder.iterdir():
                    is_tensors = folder == self._folder and path.suffix == ".safetensors"
                    if (is_tensors or path.name in self._names) and path.exists():
                        found[path] = FileIdentity.of(path.stat())
        return found


def _downloaded_revision(root: Path, folder: Path) -> str | None:
    file = (folder / "config.json").relative_to(root)
    metadata = root / ".cache" / "huggingface" / "download" / f"{file}.metadata"
    if not has_file(metadata):
        return None
    content = read_file(metadata, max_bytes=MAX_METADATA_BYTES)
    first = content.decode(errors="replace").partition("\n")[0]
    return first if _REVISION.fullmatch(first) else None
