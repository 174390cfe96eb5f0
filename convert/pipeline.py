"""Reads a released checkpoint and writes the folder that gptoss-mlx and mlx-lm run.

Memory holds one piece of one tensor (16 MiB), the small files (28 MB, and 150 MB while a
tokenizer.json is made) and, where a recipe quantizes, the scales of the file being
written (under 100 MB for gpt-oss-120b).
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
from gptoss_mlx.manifest import MANIFEST, FileEntry, Manifest, TensorEntry
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

# What the small files may take.
ROOM_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Conversion:
    """What a conversion has made.

    Attributes:
        folder: Where it is.
        nbytes: Bytes of the tensors in it.
        resumed_bytes: Of these, what an earlier run had written.
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

    It is written as ``DESTINATION.partial``, which nothing reads as a model, and
    renamed when it is whole. After an interruption the same call goes on with the
    file it was at.

    Args:
        source: In Hugging Face's layout or OpenAI's.
        destination: Must not exist. None: its place in the store.
        recipe: ``exact`` or ``q8``.
        only: The names of the files of ``source`` that are read; what else lies there
            makes no difference. None: all that a checkpoint has.
        progress: Called with the tensors' bytes done and those in all.
        notice: Told in a sentence what becomes of an earlier run's files, of a tokenizer
            that is not the released one, and of backups.
        shard_bytes: Most bytes of tensors in a file.

    Raises:
        ConvertError: There is no such recipe, ``source`` is converted already, or
            ``destination`` lies in it or is being written, or ``source`` has changed
            meanwhile.
        DestinationExistsError: ``destination`` exists.
        CheckpointError: ``source`` cannot be used; see ``open_checkpoint``.
        ConfigError: Its config.json cannot.
        DataError: The vocabulary in the package is missing or was changed.
        NoSpaceError: The disk is full, or would be.
        NoPermissionError: Reading or writing is forbidden.
        StorageError: The disk refuses for another reason.
    """
    chosen = find_recipe(recipe)
    check_folder(source)
    files_before = SourceFiles(source, COPIED)
    checkpoint = open_checkpoint(source, only=only)
    if checkpoint.layout is Layout.MLX:
        raise ConvertError(
            f"{source} must be a released checkpoint but is an MLX folder.",
            hint=f"Run it as it is: gptoss-mlx chat {shlex.quote(str(source))}",
        )
    provenance = provenance_of(checkpoint)
    if destination is None:
        size = model_size(checkpoint.config)
        name = f"gpt-oss-{size}" if size else provenance.folder
        destination = folder_for(name, chosen.name)
    _check_destination(source, destination)
    tensors = plan_tensors(checkpoint, chosen)
    shards = plan_shards(tensors, shard_bytes=shard_bytes)
    total = sum(shard.nbytes for shard in shards)
    say = notice or (lambda sentence: None)
    companions = companion_files(checkpoint, chosen, provenance, say)
    made_by = {"gptoss_mlx": __version__, "mlx": version("mlx")}
    key = {
        "source": files_before.identity(checkpoint),
        "recipe": chosen.name,
        "made_by": made_by,
        "shard_bytes": shard_bytes,
    }
    with claim_partial(destination) as partial:
        folder = destination.parent
        if folder == models_folder() and exclude_from_backups(folder):
            say(f"Time Machine leaves out {folder}: what is in it can be made again.")
        names = {shard.file: {t.name for t in shard.tensors} for shard in shards}
        journal = Journal(partial, key, names, say)
        done = sum(shard.nbytes for shard in shards if shard.file in journal.files)
        resumed = done
        room = sum(map(len, companions.values())) + ROOM_BYTES
        _check_space(partial, total - done + room, anything=bool(journal.files))
        report = progress or (lambda done, total: None)
        report(done, total)

        def written(nbytes: int) -> None:
            nonlocal done
            done += nbytes
            report(done, total)

        for shard in shards:
            if shard.file not in journal.files:
                pieces_of = _Pieces(checkpoint)
                entry = write_shard(
                    partial / shard.file, shard.tensors, pieces_of, written=written
                )
                journal.record(shard.file, entry)
        try:
            files_before.check_unchanged()
        except ConvertError:
            # What was written is of two sources.
            shutil.rmtree(partial, ignore_errors=True)
            raise
        config = _json(config_keys(checkpoint, tensors))
        small = {**companions, INDEX: _index(shards, total)}
        files = dict(journal.files)
        files |= {name: write_file(partial / name, data) for name, data in small.items()}
        files["config.json"] = WrittenFile.of(config)
        manifest = Manifest(
            provenance,
            chosen.name,
            made_by,
            {name: FileEntry(file.nbytes, file.sha256) for name, file in files.items()},
            _tensor_entries(shards, files),
        )
        write_file(partial / MANIFEST, manifest.encode())
        # Without it, no program takes the folder for a model.
        write_file(partial / "config.json", config)
        finish_partial(partial, destination)
    return Conversion(destination, total, resumed)


class _Pieces:
    """Gives the bytes of a file's tensors, in the order they are written."""

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
        # Path.resolve raises at a circle of links.
        place, origin = (Path(os.path.realpath(p)) for p in (destination, source))
        if place == origin or origin in place.parents:
            raise ConvertError(
                f"The destination must lie outside {source} but is {destination}.",
                hint="Name another destination.",
            )
        if destination.name.endswith(".partial"):
            raise ConvertError(
                f"The destination must not end in .partial, which marks what is "
                f"unfinished, but is {destination}.",
                hint="Name another destination.",
            )
        if os.path.lexists(destination) or os.path.lexists(place):
            clear_finished(destination)
            raise DestinationExistsError(
                f"The destination must not exist, but {destination} does.",
                hint=f"Name another destination, or remove it first: {destination}",
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
