"""Bytes that models on this machine already have, found by their sha256.

Two recipes of one model share the experts, and every recipe the tokenizer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from gptoss_mlx.checkpoint.safetensors import TensorInfo, read_chunks, read_header
from gptoss_mlx.errors import GptOssError
from gptoss_mlx.manifest import Manifest, read_manifest
from gptoss_mlx.sharing.pieces import PIECE_BYTES

__all__ = ["LocalBytes"]


@dataclass(slots=True)
class LocalBytes:
    """The files and tensors of converted folders, by sha256."""

    files: dict[str, Path] = field(default_factory=dict)
    tensors: dict[str, tuple[Path, str]] = field(default_factory=dict)
    _headers: dict[Path, dict[str, TensorInfo]] = field(default_factory=dict)

    @classmethod
    def of(cls, folders: Iterable[Path]) -> LocalBytes:
        """Read the manifests of folders; those without a valid one are left out."""
        found = cls()
        for folder in folders:
            try:
                found._add(folder, read_manifest(folder))
            except GptOssError:
                continue  # nothing is taken from it
        return found

    def _add(self, folder: Path, manifest: Manifest) -> None:
        for name, entry in manifest.files.items():
            self.files[entry.sha256] = folder / name
        for name, tensor in manifest.tensors.items():
            self.tensors[tensor.sha256] = folder / tensor.file, name

    def file(self, sha256: str, nbytes: int) -> TensorInfo | None:
        """Return where a whole file is, in the form of a tensor; None if it is not."""
        path = self.files.get(sha256)
        if path is None:
            return None
        return TensorInfo(path.name, "U8", (nbytes,), path, 0, nbytes)

    def tensor(self, sha256: str, nbytes: int) -> TensorInfo | None:
        """Return where a tensor is; None if it is not there, or has another length."""
        path, name = self.tensors.get(sha256, (None, ""))
        if path is None:
            return None
        if path not in self._headers:
            try:
                self._headers[path] = read_header(path)
            except GptOssError:
                self._headers[path] = {}
        found = self._headers[path].get(name)
        return found if found is not None and found.nbytes == nbytes else None

    @staticmethod
    def read(place: TensorInfo, first: int, nbytes: int) -> Iterable[bytes]:
        """Yield a part of what was found; ``GptOssError`` if it cannot be read."""
        return read_chunks(place, first, nbytes, chunk_bytes=PIECE_BYTES)
