"""Writes a safetensors file a chunk at a time, and hashes it.

Source: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from gptoss_mlx.errors import storage_errors
from gptoss_mlx.files import sync_file

from .digest import BackgroundSha256
from .direct_file import DirectFile
from .plan import OutputTensor

__all__ = ["WrittenFile", "sync_folder", "write_file", "write_shard"]

# Required by mlx-lm and transformers.
METADATA = {"format": "mlx"}


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """The length and the digests of a file.

    Attributes:
        nbytes: Length of the file.
        sha256: sha256 of the whole file, in hexadecimal.
        tensors: sha256 of each tensor's bytes.
        sources: sha256 of each source file that was read as a whole for it.
    """

    nbytes: int
    sha256: str
    tensors: dict[str, str] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, content: bytes) -> WrittenFile:
        """Describe a small file by its content."""
        return cls(len(content), hashlib.sha256(content).hexdigest())


def write_shard(
    path: Path,
    tensors: Sequence[OutputTensor],
    pieces_of: Callable[[OutputTensor], Iterator[bytes]],
    *,
    written: Callable[[int], None] = lambda nbytes: None,
) -> WrittenFile:
    """Write ``tensors`` in this order to ``path``, and sync it to the disk.

    Args:
        path: Replaced if it exists.
        tensors: Larger dtypes first, so that each tensor is aligned to its dtype.
        pieces_of: Yields a tensor's bytes, one piece in memory at a time.
        written: Called with the length of each piece after it is written.

    Raises:
        NoSpaceError: The disk is full.
        NoPermissionError: ``path`` must not be written.
        StorageError: The system refuses for another reason.
        ValueError: The pieces of a tensor have another length than the tensor.
    """
    of_tensors: dict[str, BackgroundSha256] = {}
    header = _header(tensors)
    with (
        storage_errors(path),
        ThreadPoolExecutor(max_workers=1) as of_file_thread,
        ThreadPoolExecutor(max_workers=1) as of_tensors_thread,
        DirectFile(path) as file,
    ):
        of_file = BackgroundSha256(of_file_thread, header)
        file.write(header)
        for tensor in tensors:
            of_tensor = of_tensors[tensor.name] = BackgroundSha256(of_tensors_thread)
            begin = file.nbytes
            for piece in pieces_of(tensor):
                of_file.update(piece)
                of_tensor.update(piece)
                file.write(piece)
                written(len(piece))
            if file.nbytes - begin != tensor.nbytes:
                raise ValueError(
                    f"[write_shard] {tensor.name} must have {tensor.nbytes} bytes "
                    f"but got {file.nbytes - begin}."
                )
        sync_file(file.flush())
        return WrittenFile(
            file.nbytes,
            of_file.hexdigest(),
            {name: digest.hexdigest() for name, digest in of_tensors.items()},
        )


def write_file(path: Path, content: bytes) -> WrittenFile:
    """Write a small file and sync it to the disk.

    Raises:
        NoSpaceError: The disk is full.
        NoPermissionError: ``path`` must not be written.
        StorageError: The system refuses for another reason.
    """
    with storage_errors(path), path.open("wb") as file:
        file.write(content)
        file.flush()
        sync_file(file.fileno())
    return WrittenFile.of(content)


def sync_folder(folder: Path) -> None:
    """Sync the names of ``folder``'s files to the disk.

    Raises:
        StorageError: The system refuses.
    """
    with storage_errors(folder):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            sync_file(descriptor)
        except OSError as error:
            # Some network file systems do not support this for folders.
            if error.errno not in (errno.EBADF, errno.EINVAL, errno.ENOTSUP):
                raise
        finally:
            os.close(descriptor)


def _header(tensors: Sequence[OutputTensor]) -> bytes:
    entries: dict[str, object] = {"__metadata__": METADATA}
    offset = 0
    for tensor in tensors:
        end = offset + tensor.nbytes
        entries[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
