"""Reads a source, and decides all of its conversion before anything is written."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gptoss_mlx import __version__
from gptoss_mlx.checkpoint.folder import Checkpoint, open_checkpoint
from gptoss_mlx.checkpoint.layout import Layout, check_folder
from gptoss_mlx.checkpoint.safetensors import Header
from gptoss_mlx.config_json import read_config
from gptoss_mlx.errors import ConvertError, DestinationExistsError, storage_errors
from gptoss_mlx.files import has_file
from gptoss_mlx.manifest import Provenance
from gptoss_mlx.store import folder_for, model_size

from .companions import COPIED, companion_files
from .journal import read_journal
from .partial import clear_finished, partial_of
from .plan import OutputTensor, Shard, plan_shards, plan_tensors
from .provenance import provenance_of, source_name
from .recipe_file import check_recipe, find_recipe
from .recipes import ChooseRecipe, Recipe
from .source_files import Pinned, SourceFiles, read_headers

__all__ = ["Preparation", "prepare"]


@dataclass(frozen=True, slots=True)
class Preparation:
    """A conversion that can begin: everything that the source implies.

    Attributes:
        source_files: The source's files, as they are now.
        headers: The headers of the source's safetensors files, by name; none if they are
            too large to be recorded.
        gone: The names of the safetensors files that are not there: an earlier run has
            removed them, or they arrive later.
        companions: The small files to write beside the shards, by name.
    """

    destination: Path
    recipe: Recipe
    checkpoint: Checkpoint
    provenance: Provenance
    source_files: SourceFiles
    headers: Mapping[str, Header]
    gone: Collection[str]
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
    def made_of(self) -> dict[str, set[str]]:
        """The files of the output that each source file is needed for, by its name."""
        files: dict[str, set[str]] = {name: set() for name in self.headers}
        for shard in self.shards:
            for tensor in shard.tensors:
                files.setdefault(tensor.source_file, set()).add(shard.file)
        return files

    @property
    def key(self) -> dict[str, Any]:
        """What must be the same for an earlier run to be continued."""
        return {
            "source": self.source_files.identity(self.checkpoint),
            "recipe": self.recipe.name,
            "formats": {path: asdict(f) for path, f in self.recipe.formats.items()},
            "made_by": self.made_by,
            "shard_bytes": self.shard_bytes,
        }


def prepare(
    source: Path,
    destination: Path | None,
    recipe: str | None,
    only: Collection[str] | None,
    shard_bytes: int,
    say: Callable[[str], None],
    pinned: Pinned | None = None,
    *,
    choose: ChooseRecipe,
) -> Preparation:
    """Read and check the source and the destination.

    Args:
        pinned: The safetensors files, if they are fetched during the conversion. The other
            arguments are those of ``convert_checkpoint``.

    Raises:
        GptOssError: As ``convert_checkpoint``.
    """
    # A wrong recipe is refused before the source is read.
    chosen = None if recipe is None else find_recipe(recipe)
    check_folder(source)
    size = model_size(read_config(source))
    reason = ""
    if chosen is None:
        fitting, reason = choose(size)
        chosen = find_recipe(fitting)
    if destination is None:
        name = f"gpt-oss-{size}" if size else source_name(source)
        destination = folder_for(name, chosen.name)
    _check_destination(source, destination)
    if pinned is None:
        gone, identities = _gone(source, destination, only)
        source_files = SourceFiles(source, COPIED, identities)
    else:
        gone = dict(pinned.headers)
        source_files = SourceFiles(source, COPIED, pinned=pinned)
    checkpoint = open_checkpoint(source, only=only, headers=gone)
    if checkpoint.layout is Layout.MLX:
        raise ConvertError(
            f"{source} must be a released checkpoint but is an MLX folder.",
            hint=f"It can be used directly: gptoss-mlx chat {shlex.quote(str(source))}",
        )
    provenance = provenance_of(checkpoint)
    if reason:
        say(reason)
    check_recipe(chosen, _columns(checkpoint))
    tensors = plan_tensors(checkpoint, chosen)
    return Preparation(
        destination=destination,
        recipe=chosen,
        checkpoint=checkpoint,
        provenance=provenance,
        source_files=source_files,
        headers=read_headers(checkpoint, gone),
        gone=gone.keys(),
        tensors=tensors,
        shards=plan_shards(tensors, shard_bytes=shard_bytes),
        companions=companion_files(checkpoint, chosen, provenance, say),
        made_by={"gptoss_mlx": __version__, "mlx": version("mlx")},
        shard_bytes=shard_bytes,
    )


def _gone(
    source: Path, destination: Path, only: Collection[str] | None
) -> tuple[dict[str, Header], dict[str, Any]]:
    """Return what an unfinished run knows of the source's files that it has removed.

    Returns:
        Their headers, and their identities, by name.
    """
    before = read_journal(partial_of(destination))
    if before is None or before.folder != os.path.realpath(source):
        return {}, {}
    headers = {
        name: header
        for name, header in before.headers.items()
        if (only is None or name in only) and not has_file(source / name)
    }
    return headers, {name: before.identities[name] for name in headers}


def _columns(checkpoint: Checkpoint) -> dict[str, int]:
    """Return the columns of each matrix, by the path of its module."""
    return {
        name.removesuffix(".weight"): view.shape[1]
        for name, view in checkpoint.views.items()
        if name.endswith(".weight") and len(view.shape) == 2
    }


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
            hint = f"Choose another destination, or remove it first: {destination}"
            if not _has_weights(source):
                command = shlex.join(["gptoss-mlx", "verify", str(destination)])
                hint = (
                    f"{source} has no weights: keep what was converted from it. {command}"
                )
            raise DestinationExistsError(
                f"The destination must not exist, but {destination} does.", hint=hint
            )


def _has_weights(source: Path) -> bool:
    """Whether a folder has safetensors files, which ``--consume`` removes."""
    patterns = ("*.safetensors", "original/*.safetensors")
    return any(file for pattern in patterns for file in source.glob(pattern))
