"""Converts a released checkpoint to a folder for gptoss-mlx and mlx-lm.

It uses memory for one chunk of one tensor (16 MiB), the small files (28 MB, and 150 MB
while a tokenizer.json is made) and, if a recipe quantizes, the scales of the current file
(under 100 MB for gpt-oss-120b).
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gptoss_mlx import __version__
from gptoss_mlx.checkpoint.folder import Checkpoint, open_checkpoint
from gptoss_mlx.checkpoint.layout import INDEX, Layout, check_folder
from gptoss_mlx.errors import (
    ConvertError,
    DestinationExistsError,
    NoSpaceError,
    storage_errors,
)
from gptoss_mlx.macos import exclude_from_backups, free_space_hint
from gptoss_mlx.manifest import MANIFEST, FileEntry, Manifest, Provenance, TensorEntry
from gptoss_mlx.store import folder_for, model_size, models_folder

from .companions import COPIED, companion_files
from .partial import Journal, claim_partial, clear_finished, finish_partial
from .plan import (
    SHARD_BYTES,
    OutputTensor,
    Shard,
    config_keys,
    plan_shards,
    plan_tensors,
)
from .provenance import SourceFiles, provenance_of
from .quantize import PIECE_BYTES, quantize_rows
from .recipes import DEFAULT_RECIPE, find_recipe
from .writer import WrittenFile, write_file, write_shard

__all__ = ["Conversion", "convert_checkpoint"]

# An upper bound for the small files.
ROOM_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Conversion:
    """The result of a conversion.

    Attributes:
        folder: The converted folder.
        nbytes: Bytes of its tensors.
        resumed_bytes: Bytes of these that an earlier run had written.
    """

    folder: Path
    nbytes: int
    resumed_bytes: int


def convert_checkpoint(
    source: Path,
    destination: Path | None = None,
    *,
    recipe: str = DEFAULT_RECIPE,
    only: Collection[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    notice: Callable[[str], None] | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> Conversion:
    """Convert the released checkpoint ``source`` to a folder ``destination``.

    It is written as ``DESTINATION.partial``, which nothing loads as a model, and
    renamed when it is complete. After an interruption the same call continues with
    the next file.

    Args:
        source: A checkpoint in Hugging Face's layout or OpenAI's.
        destination: Must not exist. None: its folder in the store.
        recipe: ``exact`` or ``q8``.
        only: The names of the files of ``source`` that may be read; others are
            ignored. None: all files of a checkpoint.
        progress: Called with (bytes of tensors done, bytes in total).
        notice: Called with a sentence about an earlier run's files, a tokenizer
            that is not the released one, or backups.
        shard_bytes: The most bytes of tensors per file.

    Raises:
        ConvertError: ``recipe`` is unknown, ``source`` is converted already, or
            ``destination`` is inside it or is being written, or ``source`` has changed
            in the meantime.
        DestinationExistsError: ``destination`` exists.
        CheckpointError: ``source`` cannot be used; see ``open_checkpoint``.
        ConfigError: Its config.json is wrong.
        DataError: The vocabulary in the package is missing or was changed.
        NoSpaceError: The disk is full, or would be.
        NoPermissionError: Reading or writing is forbidden.
        StorageError: The system refuses for another reason.
    """
    say = notice or (lambda sentence: None)
    report = progress or (lambda done, total: None)
    plan = _plan(source, destination, recipe, only, shard_bytes, say)
    with claim_partial(plan.destination) as partial:
        folder = plan.destination.parent
        if folder == models_folder() and exclude_from_backups(folder):
            say(f"Time Machine excludes {folder}: models can be converted again.")
        journal = Journal(partial, plan.key, plan.names, say)
        resumed = sum(s.nbytes for s in plan.shards if s.file in journal.files)
        needed = plan.nbytes - resumed + plan.companion_nbytes + ROOM_BYTES
        _check_space(partial, needed, anything=bool(journal.files))
        _write_shards(plan, journal, partial, resumed, report)
        try:
            plan.files_before.check_unchanged()
        except ConvertError:
            # The files written so far mix two sources.
            shutil.rmtree(partial, ignore_errors=True)
            raise
        _write_small_files(plan, journal, partial)
        finish_partial(partial, plan.destination)
    return Conversion(plan.destination, plan.nbytes, resumed)


@dataclass(frozen=True, slots=True)
class _Plan:
    """A conversion that can begin: everything that the source implies.

    Attributes:
        companions: The small files to write beside the shards, by name.
    """

    destination: Path
    recipe: str
    checkpoint: Checkpoint
    provenance: Provenance
    files_before: SourceFiles
    tensors: Sequence[OutputTensor]
    shards: Sequence[Shard]
    companions: Mapping[str, bytes]
    made_by: Mapping[str, str]
    shard_bytes: int

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(shard.nbytes for shard in self.shards)

    @property
    def companion_nbytes(self) -> int:
        """Bytes of the small files."""
        return sum(map(len, self.companions.values()))

    @property
    def names(self) -> dict[str, set[str]]:
        """The tensors' names, by file."""
        return {shard.file: {t.name for t in shard.tensors} for shard in self.shards}

    @property
    def key(self) -> dict[str, Any]:
        """What must be the same for an earlier run to be continued."""
        return {
            "source": self.files_before.identity(self.checkpoint),
            "recipe": self.recipe,
            "made_by": self.made_by,
            "shard_bytes": self.shard_bytes,
        }


def _plan(
    source: Path,
    destination: Path | None,
    recipe: str,
    only: Collection[str] | None,
    shard_bytes: int,
    say: Callable[[str], None],
) -> _Plan:
    """Read and check the source and the destination."""
    chosen = find_recipe(recipe)
    check_folder(source)
    files_before = SourceFiles(source, COPIED)
    checkpoint = open_checkpoint(source, only=only)
    if checkpoint.layout is Layout.MLX:
        raise ConvertError(
            f"{source} must be a released checkpoint but is an MLX folder.",
            hint=f"It can be used directly: gptoss-mlx chat {shlex.quote(str(source))}",
        )
    provenance = provenance_of(checkpoint)
    if destination is None:
        size = model_size(checkpoint.config)
        name = f"gpt-oss-{size}" if size else provenance.folder
        destination = folder_for(name, chosen.name)
    _check_destination(source, destination)
    tensors = plan_tensors(checkpoint, chosen)
    return _Plan(
        destination=destination,
        recipe=chosen.name,
        checkpoint=checkpoint,
        provenance=provenance,
        files_before=files_before,
        tensors=tensors,
        shards=plan_shards(tensors, shard_bytes=shard_bytes),
        companions=companion_files(checkpoint, chosen, provenance, say),
        made_by={"gptoss_mlx": __version__, "mlx": version("mlx")},
        shard_bytes=shard_bytes,
    )


def _write_shards(
    plan: _Plan,
    journal: Journal,
    partial: Path,
    done: int,
    report: Callable[[int, int], None],
) -> None:
    """Write the shards that the journal does not have; ``done`` bytes are there."""
    report(done, plan.nbytes)

    def written(nbytes: int) -> None:
        nonlocal done
        done += nbytes
        report(done, plan.nbytes)

    for shard in plan.shards:
        if shard.file not in journal.files:
            path, pieces_of = partial / shard.file, _Pieces(plan.checkpoint)
            entry = write_shard(path, shard.tensors, pieces_of, written=written)
            journal.record(shard.file, entry)


def _write_small_files(plan: _Plan, journal: Journal, partial: Path) -> None:
    """Write the companions, the index, the manifest and, last, config.json."""
    config = _json(config_keys(plan.checkpoint, plan.tensors))
    small = {**plan.companions, INDEX: _index(plan.shards, plan.nbytes)}
    files = dict(journal.files)
    files |= {name: write_file(partial / name, data) for name, data in small.items()}
    files["config.json"] = WrittenFile.of(config)
    manifest = Manifest(
        plan.provenance,
        plan.recipe,
        plan.made_by,
        {name: FileEntry(file.nbytes, file.sha256) for name, file in files.items()},
        _tensor_entries(plan.shards, files),
    )
    write_file(partial / MANIFEST, manifest.encode())
    # Without config.json no program takes the folder for a model.
    write_file(partial / "config.json", config)


class _Pieces:
    """Yields the bytes of a file's tensors, in the order of writing."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        # A weight's scales and biases, made with it and written after it.
        self._kept: dict[str, list[bytes]] = {}

    def __call__(self, tensor: OutputTensor) -> Iterator[bytes]:
        if tensor.packing is None:
            yield from self._checkpoint.chunks(tensor.source, chunk_bytes=PIECE_BYTES)
        elif tensor.name.endswith(".weight"):
            module = tensor.name.removesuffix(".weight")
            scales = self._kept[f"{module}.scales"] = []
            biases = self._kept[f"{module}.biases"] = []
            for rows in quantize_rows(self._checkpoint, tensor.source, tensor.packing):
                scales.append(rows.scales)
                biases.append(rows.biases)
                yield rows.weight
        else:
            yield from self._kept.pop(tensor.name)


def _check_destination(source: Path, destination: Path) -> None:
    with storage_errors(destination):
        # Path.resolve raises an error for a loop of links.
        place, origin = (Path(os.path.realpath(p)) for p in (destination, source))
        if place == origin or origin in place.parents:
            raise ConvertError(
                f"The destination must be outside {source} but is {destination}.",
                hint="Choose another destination.",
            )
        if destination.name.endswith(".partial"):
            raise ConvertError(
                f"The destination must not end in .partial, which marks unfinished "
                f"folders, but is {destination}.",
                hint="Choose another destination.",
            )
        if os.path.lexists(destination) or os.path.lexists(place):
            clear_finished(destination)
            raise DestinationExistsError(
                f"The destination must not exist, but {destination} does.",
                hint=f"Choose another destination, or remove it first: {destination}",
            )


def _check_space(partial: Path, needed: int, *, anything: bool) -> None:
    with storage_errors(partial):
        free = shutil.disk_usage(partial).free
        if needed > free:
            if not anything:
                shutil.rmtree(partial)
            raise NoSpaceError(
                f"{partial.parent} must have {needed / 1e6:,.1f} MB free "
                f"but has {free / 1e6:,.1f} MB.",
                hint=free_space_hint(NoSpaceError.hint),
            )


def _tensor_entries(
    shards: Sequence[Shard], files: Mapping[str, WrittenFile]
) -> dict[str, TensorEntry]:
    return {
        tensor.name: TensorEntry(
            shard.file,
            tensor.dtype,
            tensor.shape,
            files[shard.file].tensors[tensor.name],
        )
        for shard in shards
        for tensor in shard.tensors
    }


def _index(shards: Sequence[Shard], total: int) -> bytes:
    weight_map = {tensor.name: shard.file for shard in shards for tensor in shard.tensors}
    return _json(
        {
            "metadata": {"total_size": total},
            "weight_map": dict(sorted(weight_map.items())),
        }
    )


def _json(value: object) -> bytes:
    return json.dumps(value, indent=2).encode() + b"\n"
