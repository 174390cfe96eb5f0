"""Checks a converted folder against its manifest, and against its source."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, fields
from itertools import zip_longest
from pathlib import Path

import mlx.core as mx
import numpy as np

from gptoss_mlx.checkpoint.folder import Checkpoint, open_checkpoint
from gptoss_mlx.checkpoint.safetensors import TensorInfo, read_chunks, read_header
from gptoss_mlx.config import Quantization
from gptoss_mlx.device_errors import device_errors
from gptoss_mlx.errors import CheckpointError, VerifyError, storage_errors
from gptoss_mlx.manifest import MANIFEST, MODEL_CARD, FileEntry, Manifest, read_manifest
from gptoss_mlx.manifest_digest import MANIFEST_SHA256, check_digest
from gptoss_mlx.verified import record_verified, state_of

from .quantize import PIECE_BYTES, quantize_rows, rows_of_piece

__all__ = ["VerifyReport", "verify_checkpoint"]


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """The results of a verification.

    Attributes:
        files: Files whose sha256 matches the manifest.
        tensors: Tensors whose sha256, dtype and shape match the manifest.
        nbytes: Bytes of these files.
        digest: sha256 of the manifest, which manifest.sha256 has too. None: the folder is
            of format 1, which has no digest, so that nothing protects its manifest.
        identical: Tensors with the source's bytes; None without a source.
        requantized: Tensors that match the quantized source; None without a source.
    """

    files: int
    tensors: int
    nbytes: int
    digest: str | None = None
    identical: int | None = None
    requantized: int | None = None


def verify_checkpoint(
    folder: Path,
    against: Path | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> VerifyReport:
    """Read every byte of ``folder`` and compare it with its manifest and its source.

    If all is right, that is recorded, so that it is not verified before its first load.

    Args:
        folder: A folder written by ``convert_checkpoint``.
        against: The source, in any layout. Experts, and everything else that the recipe
            keeps as released, must have its bytes; the rest is quantized again.
        progress: Called with (bytes done, bytes in total).

    Raises:
        VerifyError: Something differs; the message names the file and the tensor.
        CheckpointError: ``against`` cannot be used; see ``open_checkpoint``.
        ConfigError: Its config.json is wrong.
        StorageError: A file cannot be read.
    """
    state = state_of(folder)
    digest = check_digest(folder)
    manifest = read_manifest(folder)
    nbytes = sum(file.nbytes for file in manifest.files.values())
    ours = theirs = None
    total, done = nbytes, 0
    if against is not None:
        theirs = open_checkpoint(against)
        total += theirs.nbytes
    report = progress or (lambda done, total: None)

    def advance(count: int) -> None:
        nonlocal done
        done += count
        report(done, total)

    advance(0)
    _check_names(folder, manifest, digest)
    # First: it takes no time, and reading the files before a cut one may take minutes.
    for name, entry in manifest.files.items():
        _check_length(folder / name, entry)
    for name, entry in manifest.files.items():
        _check_file(folder / name, entry, manifest, advance)
    try:
        ours = open_checkpoint(folder)
    except CheckpointError as error:
        raise VerifyError(str(error)) from error
    record_verified(folder, state)
    counts = len(manifest.files), len(manifest.tensors), nbytes, digest
    if theirs is None:
        return VerifyReport(*counts)
    return VerifyReport(*counts, *_compare(ours, theirs, advance))


def _check_names(folder: Path, manifest: Manifest, digest: str | None) -> None:
    with storage_errors(folder):
        # Hidden files belong to the file manager, Git or the Hub.
        found = {
            str(path.relative_to(folder))
            for path in folder.rglob("*")
            if path.is_file()
            and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        }
    required = {*manifest.files, *([MANIFEST_SHA256] if manifest.has_digest else [])}
    if missing := sorted(required - found):
        raise VerifyError(f"{folder} must have {missing[0]} but does not{_more(missing)}.")
    # A card on the Hub names the manifest's digest, so that manifest cannot list it.
    own = {MANIFEST, MODEL_CARD} | (set() if digest is None else {MANIFEST_SHA256})
    if extra := sorted(found - set(manifest.files) - own):
        raise VerifyError(
            f"{folder} has files that the manifest does not list: "
            f"{extra[0]}{_more(extra)}.",
            hint=f"Move it elsewhere: {folder / extra[0]}",
        )


def _more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def _check_length(path: Path, entry: FileEntry) -> None:
    with storage_errors(path):
        nbytes = path.stat().st_size
    if nbytes != entry.nbytes:
        raise VerifyError(f"{path}: must have {entry.nbytes:,} bytes but has {nbytes:,}.")


def _check_file(
    path: Path, entry: FileEntry, manifest: Manifest, advance: Callable[[int], None]
) -> None:
    of_file = hashlib.sha256()
    if path.suffix == ".safetensors":
        _hash_tensors(path, manifest, of_file, advance)
    else:
        for chunk in _read(path, entry.nbytes):
            of_file.update(chunk)
            advance(len(chunk))
    if of_file.hexdigest() != entry.sha256:
        raise VerifyError(
            f"{path}: must have the sha256 {entry.sha256} but has {of_file.hexdigest()}."
        )


def _hash_tensors(
    path: Path,
    manifest: Manifest,
    of_file: hashlib._Hash,
    advance: Callable[[int], None],
) -> None:
    """Hash a file and each of its tensors in one pass, and check the tensors."""
    try:
        tensors = read_header(path)
    except CheckpointError as error:
        raise VerifyError(str(error)) from error
    recorded = {
        name: entry for name, entry in manifest.tensors.items() if entry.file == path.name
    }
    if tensors.keys() != recorded.keys():
        name = min(tensors.keys() ^ recorded.keys())
        rule = "must not" if name in tensors else "must"
        raise VerifyError(f"{path}: {rule} have the tensor {name!r}.")
    header_bytes = min((tensor.start for tensor in tensors.values()), default=0)
    for chunk in _read(path, header_bytes):
        of_file.update(chunk)
        advance(len(chunk))
    for name, tensor in tensors.items():
        entry = recorded[name]
        if (tensor.dtype, tensor.shape) != (entry.dtype, entry.shape):
            raise VerifyError(
                f"{path}: tensor {name!r} must be {entry.dtype} {entry.shape} "
                f"but is {tensor.dtype} {tensor.shape}."
            )
        of_tensor = hashlib.sha256()
        for chunk in read_chunks(tensor, 0, tensor.nbytes, chunk_bytes=PIECE_BYTES):
            of_file.update(chunk)
            of_tensor.update(chunk)
            advance(len(chunk))
        if of_tensor.hexdigest() != entry.sha256:
            raise VerifyError(
                f"{path}: tensor {name!r} must have the sha256 {entry.sha256} "
                f"but has {of_tensor.hexdigest()}."
            )


def _read(path: Path, nbytes: int) -> Iterator[bytes]:
    """Read the first bytes of a file as if they were a tensor."""
    first = TensorInfo(path.name, "U8", (nbytes,), path, 0, nbytes)
    return read_chunks(first, 0, nbytes, chunk_bytes=PIECE_BYTES)


def _compare(
    ours: Checkpoint, theirs: Checkpoint, advance: Callable[[int], None]
) -> tuple[int, int]:
    _compare_configs(ours, theirs)
    identical = requantized = 0
    for name in ours.views:
        module, _, suffix = name.rpartition(".")
        weight = f"{module}.weight"
        quantized = ours.quantization_of(module) if weight in ours.views else None
        released = theirs.quantization_of(module) if weight in theirs.views else None
        if quantized == released or suffix == "bias":
            _compare_bytes(ours, theirs, name, advance)
            identical += 1
        elif quantized is None or released is not None:
            raise VerifyError(
                f"{theirs.folder}: {weight!r} must be as released but is quantized.",
                hint="Name the released checkpoint with --against.",
            )
        elif suffix == "weight":
            _compare_requantized(ours, theirs, module, quantized, advance)
            requantized += 3
    return identical, requantized


def _compare_configs(ours: Checkpoint, theirs: Checkpoint) -> None:
    for key in fields(ours.config):
        mine, source = (getattr(which.config, key.name) for which in (ours, theirs))
        if key.name != "quantization" and mine != source:
            raise VerifyError(
                f"{ours.folder / 'config.json'}: {key.name} must be the source's, "
                f"{source}, but is {mine}."
            )


def _compare_bytes(
    ours: Checkpoint, theirs: Checkpoint, name: str, advance: Callable[[int], None]
) -> None:
    if ours.dtype(name) != theirs.dtype(name):
        raise _differs(ours, name, f"the source's dtype, {theirs.dtype(name)},")
    with ExitStack() as stack:
        pieces = [
            stack.enter_context(closing(_pieces(which, name))) for which in (ours, theirs)
        ]
        for mine, source in zip_longest(*pieces):
            if mine != source:
                raise _differs(ours, name, "the source's bytes")
            advance(len(source))


def _pieces(checkpoint: Checkpoint, name: str) -> Generator[bytes]:
    if checkpoint.is_verbatim(name):
        yield from checkpoint.chunks(name, chunk_bytes=PIECE_BYTES)
        return
    with device_errors():
        whole = np.asarray(checkpoint.array(name).view(mx.uint8)).tobytes()
    for first in range(0, len(whole), PIECE_BYTES):
        yield whole[first : first + PIECE_BYTES]


def _compare_requantized(
    ours: Checkpoint,
    theirs: Checkpoint,
    module: str,
    packing: Quantization,
    advance: Callable[[int], None],
) -> None:
    weight = f"{module}.weight"
    names = [weight, f"{module}.scales", f"{module}.biases"]
    rows = rows_of_piece(theirs, weight)
    source_bytes = theirs.nbytes_of(weight)
    row_bytes = source_bytes // theirs.views[weight].shape[0]
    with ExitStack() as stack:
        mine = [stack.enter_context(closing(_rows(ours, name, rows))) for name in names]
        right = stack.enter_context(closing(quantize_rows(theirs, weight, packing)))
        for found, expected in zip(zip(*mine, strict=True), right, strict=True):
            if (wrong := _first_difference(names, found, expected)) is not None:
                raise _differs(ours, wrong, f"the source's values in {packing.bits} bits")
            advance(min(rows * row_bytes, source_bytes))
            source_bytes -= rows * row_bytes


def _rows(checkpoint: Checkpoint, name: str, rows: int) -> Generator[bytes]:
    """Read ``rows`` rows of a tensor at a time."""
    row_bytes = checkpoint.nbytes_of(name) // checkpoint.views[name].shape[0]
    return checkpoint.chunks(name, chunk_bytes=rows * row_bytes)


def _first_difference(
    names: list[str], found: Iterable[bytes], expected: Iterable[bytes]
) -> str | None:
    parts = zip(names, found, expected, strict=True)
    return next((name for name, part, right in parts if part != right), None)


def _differs(checkpoint: Checkpoint, name: str, rule: str) -> VerifyError:
    path = checkpoint.files[checkpoint.views[name].parts[0].name].path
    return VerifyError(f"{path}: tensor {name!r} must have {rule} but differs.")
