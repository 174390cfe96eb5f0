"""Compares a converted folder with a published release.

A released file is proved if it can be put together again from the folder, and has the
published sha256. It is attested if the folder has quantized a part of it: then the sha256
that the conversion recorded of its source is the published one, which holds as far as the
manifest is trusted.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from gptoss_mlx.checkpoint.folder import Checkpoint, open_checkpoint
from gptoss_mlx.checkpoint.layout import INDEX
from gptoss_mlx.checkpoint.safetensors import TensorInfo, parse_header, read_chunks
from gptoss_mlx.config import ModelConfig
from gptoss_mlx.errors import CorruptFileError, VerifyError, storage_errors
from gptoss_mlx.manifest import FileEntry, Manifest, SourceFile, read_manifest

from .companions import WRITTEN
from .quantize import PIECE_BYTES

__all__ = ["Claim", "Published", "ReleaseReport", "verify_release"]

Claim = Literal["proved", "attested"]


@dataclass(frozen=True, slots=True)
class Published:
    """What is published of a release in Hugging Face's layout.

    Attributes:
        repository: Its repository on the Hub.
        revision: Commit of the files.
        files: The length and the sha256 of each file, by name.
        config: The model's size and settings.
    """

    repository: str
    revision: str
    files: Mapping[str, FileEntry]
    config: ModelConfig

    @property
    def weights(self) -> list[str]:
        """The names of its safetensors files."""
        return sorted(name for name in self.files if name.endswith(".safetensors"))


@dataclass(frozen=True, slots=True)
class ReleaseReport:
    """The results of a comparison with a release.

    Attributes:
        repository: The release's repository on the Hub.
        revision: Commit of its files.
        weights: What is shown of each of its safetensors files.
        proved_tensors: Tensors of the folder whose bytes are those of proved files.
        attested_tensors: Tensors of attested files that keep the bytes which were recorded
            at the conversion.
        quantized_tensors: Weights of these files that are quantized.
        small_files: The small files of the folder that are the published ones.
        own_files: Those that convert has written, since the source had none.
        other_files: Those that are not of the release, like the model card.
    """

    repository: str
    revision: str
    weights: Mapping[str, Claim]
    proved_tensors: int
    attested_tensors: int
    quantized_tensors: int
    small_files: tuple[str, ...]
    own_files: tuple[str, ...]
    other_files: tuple[str, ...]


def verify_release(
    folder: Path,
    published: Published,
    against: Path | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> ReleaseReport:
    """Compare ``folder`` with what is published of a release.

    Args:
        folder: A folder that ``verify_checkpoint`` has checked, with the same ``against``.
        published: The release.
        against: A download of the release. With it, all is proved: its files have the
            published sha256, and ``verify_checkpoint`` has compared all tensors with them.
        progress: Called with (bytes done, bytes in total).

    Raises:
        VerifyError: A file or a setting differs from the release, and is named; or the
            manifest does not record enough of the source.
        CheckpointError: ``against`` cannot be used; see ``open_checkpoint``.
        StorageError: A file cannot be read.
    """
    manifest = read_manifest(folder)
    ours = open_checkpoint(folder)
    _check_config(ours, published)
    small_files = _compare_small_files(folder, manifest, published)
    total = sum(published.files[name].nbytes for name in published.weights)
    done = 0

    def advance(nbytes: int) -> None:
        nonlocal done
        done += nbytes
        if progress is not None:
            progress(done, total)

    advance(0)
    if against is not None:
        _check_source(against, published, advance)
        claims: dict[str, Claim] = dict.fromkeys(published.weights, "proved")
        counts = len(manifest.tensors), 0, 0
    else:
        claims, counts = _compare_recorded(ours, manifest, published, advance)
    return ReleaseReport(
        published.repository, published.revision, claims, *counts, *small_files
    )


def _check_config(ours: Checkpoint, published: Published) -> None:
    for key in fields(ours.config):
        mine, right = (getattr(c, key.name) for c in (ours.config, published.config))
        if key.name != "quantization" and mine != right:
            raise VerifyError(
                f"{ours.folder / 'config.json'}: {key.name} must be {right}, as in "
                f"{published.repository}, but is {mine}."
            )


def _compare_small_files(
    folder: Path, manifest: Manifest, published: Published
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Return the names of those that are published, of convert's own, and of others."""
    small, own, other = [], [], []
    # config.json and the index describe our own files.
    skipped = {"config.json", INDEX, *(tensor.file for tensor in manifest.tensors.values())}
    for name in sorted(manifest.files.keys() - skipped):
        mine, right = manifest.files[name], published.files.get(name)
        if mine == right:
            small.append(name)
        elif name in WRITTEN and mine.sha256 == _sha256(WRITTEN[name]):
            own.append(name)
        elif right is None:
            other.append(name)
        else:
            raise VerifyError(
                f"{folder / name}: must have the sha256 {right.sha256}, as in "
                f"{published.repository}, but has {mine.sha256}.",
                hint=f"Replace it by the published file, or convert again: {name}",
            )
    return tuple(small), tuple(own), tuple(other)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _check_source(
    source: Path, published: Published, advance: Callable[[int], None]
) -> None:
    """Compare the files of a download with the published digests."""
    used = {tensor.path.name for tensor in open_checkpoint(source).files.values()}
    for name in sorted(used.symmetric_difference(published.weights)):
        rule = "must not" if name in used else "must"
        raise VerifyError(
            f"{source} {rule} have {name}, to be {published.repository}.",
            hint="Name a download of the release in Hugging Face's layout with --against.",
        )
    for name in published.weights:
        path, right = source / name, published.files[name]
        with storage_errors(path):
            nbytes = path.stat().st_size
        whole = TensorInfo(name, "U8", (nbytes,), path, 0, nbytes)
        found = _sha256_of([b""], [whole], advance)
        if (nbytes, found) != (right.nbytes, right.sha256):
            raise VerifyError(
                f"{path}: must have the sha256 {right.sha256}, as in "
                f"{published.repository}, but has {found}.",
                hint="Download the release again: gptoss-mlx download "
                f"{published.repository}",
            )


def _compare_recorded(
    ours: Checkpoint,
    manifest: Manifest,
    published: Published,
    advance: Callable[[int], None],
) -> tuple[dict[str, Claim], tuple[int, int, int]]:
    """Compare the recorded source files with the published ones.

    Returns:
        What is shown of each file; and the proved, attested and quantized tensors.
    """
    _check_names(ours.folder, manifest, published)
    claims: dict[str, Claim] = {}
    found: str | None
    proved, attested, quantized = 0, 0, 0
    missing = _released_names(ours)
    for name in published.weights:
        entry, right = manifest.source_files[name], published.files[name]
        tensors = _read_header(ours.folder, name, entry)
        if unknown := sorted(tensors.keys() - missing):
            raise VerifyError(
                f"{ours.folder}: {name} of the source must not have the tensor "
                f"{unknown[0]!r}."
            )
        missing -= tensors.keys()
        kept = [tensor for tensor in tensors.values() if _is_kept(tensor, ours, name)]
        if len(kept) == len(tensors):
            header = entry.header.encode()
            begin = [len(header).to_bytes(8, "little"), header]
            parts = [ours.files[tensor] for tensor in tensors]
            found = _sha256_of(begin, parts, advance)
            claims[name] = "proved"
            proved += len(kept)
            what = f"put together again from {ours.folder}"
        else:
            found, what = entry.sha256, f"that {ours.folder} was converted from"
            advance(entry.nbytes)
            claims[name] = "attested"
            attested += len(kept)
            quantized += len(tensors) - len(kept)
        if found is None:
            raise _unknown(ours.folder, f"does not record the sha256 of {name}")
        if (entry.nbytes, found) != (right.nbytes, right.sha256):
            raise VerifyError(
                f"{name}, {what}, must have the sha256 {right.sha256}, as in "
                f"{published.repository}, but has {found}.",
                hint=f"This is another model than {published.repository}.",
            )
    if missing:
        raise VerifyError(
            f"{ours.folder}: the source must have the tensor {min(missing)!r}."
        )
    return claims, (proved, attested, quantized)


def _check_names(folder: Path, manifest: Manifest, published: Published) -> None:
    recorded = manifest.source_files.keys()
    if not recorded:
        raise _unknown(folder, "does not record the files of its source")
    if manifest.source.layout != "huggingface":
        raise _unknown(
            folder,
            f"was converted from {manifest.source.layout}/, whose files are others than "
            f"those that are published of {published.repository}",
        )
    for name in sorted(recorded ^ set(published.weights)):
        rule = "must not" if name in recorded else "must"
        raise VerifyError(
            f"{folder} {rule} be made of {name}, to be {published.repository}.",
            hint=f"This is another model than {published.repository}.",
        )


def _unknown(folder: Path, found: str) -> VerifyError:
    quoted = shlex.quote(str(folder))
    return VerifyError(
        f"{folder} {found}, so it cannot be compared with the release alone.",
        hint="Compare it with a download as well: "
        f"gptoss-mlx verify {quoted} --release --against SRC",
    )


def _released_names(ours: Checkpoint) -> set[str]:
    """Return the names of the release's tensors."""
    return {
        name
        for name, view in ours.views.items()
        if view.quantization is None or name.endswith(".weight")
    }


def _is_kept(tensor: TensorInfo, ours: Checkpoint, name: str) -> bool:
    """Whether the folder has a tensor of the source as it was, and has not quantized it.

    Raises:
        VerifyError: Neither: it has another dtype or shape.
    """
    mine = ours.files.get(tensor.name)
    if mine is not None and (mine.dtype, mine.shape) == (tensor.dtype, tensor.shape):
        return True
    if ours.views[tensor.name].quantization is None:
        raise VerifyError(
            f"{ours.folder}: tensor {tensor.name!r} must be {tensor.dtype} {tensor.shape}, "
            f"as in {name} of the source."
        )
    return False


def _read_header(folder: Path, name: str, entry: SourceFile) -> dict[str, TensorInfo]:
    """Return the tensors of a recorded source file, in the order of their bytes."""
    try:
        return parse_header(entry.header.encode(), Path(name), entry.nbytes)
    except CorruptFileError as error:
        raise VerifyError(f"{folder}: the recorded header of {error}") from error


def _sha256_of(
    begin: Collection[bytes], parts: Collection[TensorInfo], advance: Callable[[int], None]
) -> str:
    """Hash some bytes and the tensors after them, without writing a file."""
    digest = hashlib.sha256(b"".join(begin))
    advance(sum(map(len, begin)))
    with ThreadPoolExecutor(max_workers=1) as pool:
        hashing = pool.submit(digest.update, b"")
        for part in parts:
            for chunk in read_chunks(part, 0, part.nbytes, chunk_bytes=PIECE_BYTES):
                hashing.result()
                hashing = pool.submit(digest.update, chunk)
                advance(len(chunk))
        hashing.result()
    return digest.hexdigest()
