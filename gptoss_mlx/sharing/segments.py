"""Where each part of a file comes from: this machine, or the one that shares it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gptoss_mlx.checkpoint.safetensors import MAX_HEADER_BYTES, TensorInfo, parse_header
from gptoss_mlx.errors import CorruptFileError, DownloadError
from gptoss_mlx.manifest import Manifest
from gptoss_mlx.sharing.local_bytes import LocalBytes
from gptoss_mlx.sharing.pieces import PIECE_BYTES, Piece

__all__ = ["Segment", "plan_file", "segments_of"]


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a file.

    Attributes:
        local: Where these bytes are on this machine, as a part of it. None: they are
            fetched.
    """

    start: int
    nbytes: int
    local: TensorInfo | None = None

    def after(self, place: int) -> Segment | None:
        """Return the part of it from ``place`` on; None if nothing is left."""
        skip = place - self.start
        if skip <= 0:
            return self
        if skip >= self.nbytes:
            return None
        local = self.local
        if local is not None:
            local = TensorInfo(
                local.name,
                "U8",
                (local.nbytes - skip,),
                local.path,
                local.start + skip,
                local.nbytes - skip,
                local.identity,
            )
        return Segment(place, self.nbytes - skip, local)

    def pieces(self, path: str, total: int) -> Iterator[Piece]:
        """Cut what is fetched into pieces."""
        if self.local is None:
            end = self.start + self.nbytes
            for start in range(self.start, end, PIECE_BYTES):
                yield Piece(path, start, min(PIECE_BYTES, end - start), total)


def plan_file(name: str, manifest: Manifest, here: LocalBytes) -> list[Segment] | None:
    """Return the segments of a file; None if its header must be read first."""
    entry = manifest.files[name]
    if (whole := here.file(entry.sha256, entry.nbytes)) is not None and entry.nbytes:
        return [Segment(0, entry.nbytes, whole)]
    is_shared = any(
        tensor.file == name and tensor.sha256 in here.tensors
        for tensor in manifest.tensors.values()
    )
    return None if is_shared else [Segment(0, entry.nbytes)]


def segments_of(
    name: str, manifest: Manifest, here: LocalBytes, header: bytes
) -> list[Segment]:
    """Return the segments of a safetensors file, in order.

    Args:
        name: The file's name.
        manifest: What lists it.
        here: What this machine has.
        header: The file's header, without the 8 bytes before it.

    Raises:
        DownloadError: The header is not the header of such a file.
    """
    nbytes = manifest.files[name].nbytes
    try:
        tensors = parse_header(header, Path(name), nbytes)
    except CorruptFileError as error:
        raise DownloadError(f"{error}") from error
    segments = [Segment(0, 8 + len(header))]
    for tensor in tensors.values():
        recorded = manifest.tensors.get(tensor.name)
        local = None
        if recorded is not None and recorded.file == name and tensor.nbytes:
            local = here.tensor(recorded.sha256, tensor.nbytes)
        last = segments[-1]
        if local is None and last.local is None:
            segments[-1] = Segment(last.start, last.nbytes + tensor.nbytes)
        else:
            segments.append(Segment(tensor.start, tensor.nbytes, local))
    return segments


def header_bytes(prefix: bytes, name: str, nbytes: int) -> int:
    """Return the length of a header, from the first 8 bytes of its file.

    Raises:
        DownloadError: The file would be too short for it, or it is too large.
    """
    length = int.from_bytes(prefix, "little")
    if length > min(MAX_HEADER_BYTES, nbytes - 8):
        raise DownloadError(
            f"{name} must have a header of at most {MAX_HEADER_BYTES:,} bytes in its "
            f"{nbytes:,} but has {length:,}."
        )
    return length
