"""Converts a released checkpoint to a folder for gptoss-mlx and mlx-lm.

It uses memory for a few pieces of a tensor (2 MiB each), the small files (28 MB, and
150 MB while a tokenizer.json is made) and, if a recipe quantizes, the scales of a weight.
With a source file that is too large for one file, it is those of a file (under 100 MB).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from gptoss_mlx.checkpoint.layout import INDEX
from gptoss_mlx.errors import ConvertError, NoSpaceError, storage_errors
from gptoss_mlx.macos import exclude_from_backups, free_space_hint
from gptoss_mlx.manifest import (
    MANIFEST,
    FileEntry,
    Manifest,
    SourceFile,
    TensorEntry,
)
from gptoss_mlx.manifest_digest import MANIFEST_SHA256, digest_line, model_id
from gptoss_mlx.store import models_folder
from gptoss_mlx.verified import record_verified, state_of

from .arrivals import Arrivals, SourceArrival
from .consume import SourceRemoval
from .journal import Journal
from .partial import claim_partial, finish_partial
from .pieces import Pieces
from .plan import SHARD_BYTES, Shard, config_keys
from .prepare import Preparation, prepare
from .recipes import ChooseRecipe, default_recipe
from .source_files import SourceDigests
from .writer import WrittenFile, sync_folder, write_file, write_shard

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
        digest: sha256 of its manifest, in hexadecimal.
    """

    folder: Path
    nbytes: int
    resumed_bytes: int
    digest: str

    @property
    def model_id(self) -> str:
        """The short line that names the model and all of its bytes."""
        return model_id(self.folder.name, self.digest)


def convert_checkpoint(
    source: Path,
    destination: Path | None = None,
    *,
    recipe: str | None = None,
    choose: ChooseRecipe = default_recipe,
    only: Collection[str] | None = None,
    sha256: Mapping[str, str] | None = None,
    consume: bool = False,
    arrivals: Arrivals | None = None,
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
        recipe: ``exact``, ``q8``, ``q6``, ``small``, or a TOML file: see ``recipe_file``.
            None: the one that ``choose`` returns.
        choose: Chooses the recipe if none is named.
        only: The names of the files of ``source`` that may be read; others are
            ignored. None: all files of a checkpoint.
        sha256: The digests of safetensors files that are known, by name: they are recorded,
            and not computed again.
        consume: Whether to remove each safetensors file of ``source`` once all that is
            made of it is on the disk. After an interruption the same call continues
            without the removed ones.
        arrivals: Fetches the safetensors files of ``source``, of which none is there. Each
            is awaited when it is needed, and freed once all that is made of it is on the
            disk.
        progress: Called with (bytes of tensors done, bytes in total).
        notice: Called with a sentence about the choice of the recipe, an earlier run's
            files, a tokenizer that is not the released one, or backups.
        shard_bytes: The most bytes of tensors per file.

    Raises:
        ConvertError: ``recipe`` is unknown or does not fit the model, ``source`` is
            converted already, or ``destination`` is inside it or is being written, or
            ``source`` has changed in the meantime, or its files cannot be consumed.
        DestinationExistsError: ``destination`` exists.
        CheckpointError: ``source`` cannot be used; see ``open_checkpoint``.
        ConfigError: Its config.json is wrong.
        DataError: The vocabulary in the package is missing or was changed.
        NoSpaceError: The disk is full, or would be.
        NoPermissionError: Reading or writing is forbidden.
        StorageError: The system refuses for another reason.
    """
    say = notice or (lambda sentence: None)
    plan = prepare(
        source, destination, recipe, only, shard_bytes, say, arrivals, choose=choose
    )
    removal = SourceRemoval(plan) if consume else None
    arrival = SourceArrival(plan, arrivals) if arrivals is not None else None
    with claim_partial(plan.destination) as partial:
        folder = plan.destination.parent
        if folder == models_folder() and exclude_from_backups(folder):
            say(f"Time Machine excludes {folder}: models can be converted again.")
        journal = Journal(
            partial,
            plan.key,
            plan.names,
            say,
            headers=plan.headers,
            irreplaceable={name: plan.made_of[name] for name in plan.gone}
            if arrival is None
            else {},
        )
        if arrival is not None:
            arrival.begin(journal)
        resumed = sum(s.nbytes for s in plan.shards if s.file in journal.files)
        _check_space(plan, journal, partial, removal, arrival)
        known = sha256 or {}
        _write_shards(plan, journal, partial, known, removal, arrival, progress)
        try:
            plan.source_files.check_unchanged()
        except ConvertError:
            # The files written so far mix two sources.
            if not journal.removed:
                shutil.rmtree(partial, ignore_errors=True)
            raise
        digest = _write_small_files(plan, journal, partial, known)
        finish_partial(partial, plan.destination)
    record_verified(plan.destination, state_of(plan.destination))
    return Conversion(plan.destination, plan.nbytes, resumed, digest)


def _write_shards(
    plan: Preparation,
    journal: Journal,
    partial: Path,
    known: Mapping[str, str],
    removal: SourceRemoval | None,
    arrival: SourceArrival | None,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Write the shards that the journal does not have, and remove what they are made of.

    Each waits for the files that it is made of, if they arrive.
    """
    done = sum(shard.nbytes for shard in plan.shards if shard.file in journal.files)
    report = progress or (lambda done, total: None)
    report(done, plan.nbytes)

    def written(nbytes: int) -> None:
        nonlocal done
        done += nbytes
        report(done, plan.nbytes)

    # The others can be put together again from the result: see ``release``.
    quantized = {
        tensor.source_file for tensor in plan.tensors if tensor.packing is not None
    }
    unknown = {n: h for n, h in plan.headers.items() if n in quantized and n not in known}
    if removal is not None:
        sync_folder(partial.parent)  # which has the unfinished folder's own name
        removal.remove_written(journal)
    with SourceDigests(unknown) as digests, ThreadPoolExecutor(max_workers=1) as making:
        for shard in plan.shards:
            if shard.file in journal.files:
                continue
            if arrival is not None:
                arrival.wait_for(shard)
            entry = write_shard(
                partial / shard.file,
                shard.tensors,
                Pieces(plan.checkpoint, digests, making),
                written=written,
            )
            sources = digests.of(shard.source_files)
            journal.record(shard.file, replace(entry, sources=sources))
            for files in (removal, arrival):
                if files is not None:
                    files.remove_written(journal)


def _write_small_files(
    plan: Preparation, journal: Journal, partial: Path, known: Mapping[str, str]
) -> str:
    """Write the companions, the index, the manifest and, last, config.json.

    Returns:
        The digest of the manifest.
    """
    config = _json(config_keys(plan.checkpoint, plan.tensors))
    small = {**plan.companions, INDEX: _index(plan.shards, plan.nbytes)}
    files = dict(journal.files)
    files |= {name: write_file(partial / name, data) for name, data in small.items()}
    files["config.json"] = WrittenFile.of(config)
    manifest = Manifest(
        plan.provenance,
        plan.recipe.name,
        plan.made_by,
        {name: FileEntry(file.nbytes, file.sha256) for name, file in files.items()},
        _tensor_entries(plan.shards, files),
        _source_entries(plan, journal, known),
    )
    content = manifest.encode()
    written = write_file(partial / MANIFEST, content)
    write_file(partial / MANIFEST_SHA256, digest_line(content))
    # Without config.json no program takes the folder for a model.
    write_file(partial / "config.json", config)
    return written.sha256


def _check_space(
    plan: Preparation,
    journal: Journal,
    partial: Path,
    removal: SourceRemoval | None,
    arrival: SourceArrival | None,
) -> None:
    """Check that the disk has room for what is not written yet.

    Raises:
        NoSpaceError: It has not.
    """
    needed = peak = arrived = 0
    shards = [shard for shard in plan.shards if shard.file not in journal.files]
    arriving = arrival.nbytes_written_for(shards) if arrival else [0] * len(shards)
    freeing = arrival or removal
    for shard, arrived in zip(shards, arriving, strict=True):
        needed += shard.nbytes
        peak = max(peak, needed + arrived)
        needed -= freeing.nbytes_freed_by(shard, partial) if freeing else 0
    peak = max(peak, needed + arrived + plan.companion_nbytes) + ROOM_BYTES
    with storage_errors(partial):
        free = shutil.disk_usage(partial).free
        if peak > free:
            if not journal.files:
                shutil.rmtree(partial)
            raise NoSpaceError(
                f"{partial.parent} must have {peak / 1e6:,.1f} MB free "
                f"but has {free / 1e6:,.1f} MB.",
                hint=free_space_hint(NoSpaceError.hint),
            )


def _source_entries(
    plan: Preparation, journal: Journal, known: Mapping[str, str]
) -> dict[str, SourceFile]:
    found = dict(known)
    for written in journal.files.values():
        found.update(written.sources)
    return {
        name: SourceFile(header.file_bytes, found.get(name), header.content.decode())
        for name, header in plan.headers.items()
    }


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
