"""Finds the models and recipes to plan for, by what a user has typed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gptoss_mlx import store
from gptoss_mlx.checkpoint.folder import Checkpoint, open_checkpoint
from gptoss_mlx.checkpoint.layout import Layout
from gptoss_mlx.config import RELEASED, ModelConfig
from gptoss_mlx.convert.recipe_file import check_recipe, find_recipe
from gptoss_mlx.convert.recipes import DEFAULT_RECIPE, RECIPES, recipe_named
from gptoss_mlx.errors import ConvertError
from gptoss_mlx.files import expanded
from gptoss_mlx.fit.plan import Target
from gptoss_mlx.manifest import read_summary
from gptoss_mlx.model.footprint import QuantizationOf
from gptoss_mlx.released_names import RECIPE_NAMES, released_size

__all__ = ["find_packed", "find_targets"]

FindFolder = Callable[[str], Path]
"""Returns the folder of a model that is not a released one's name."""


@dataclass(frozen=True, slots=True)
class _Released:
    """A released model, and the recipe that its name ends in."""

    size: str
    recipe: str | None


def find_targets(
    name: str | None, recipes: Sequence[str] = (), find_folder: FindFolder = store.resolve
) -> list[Target]:
    """Find what to plan for.

    Args:
        name: ``20b``, ``120b``, either with a recipe (``20b-q8``), a name in the store, or
            a folder. None: both released models.
        recipes: Names of recipes, or paths of TOML files. Empty: all of ours; or of a
            converted folder, its own.
        find_folder: Finds a model that is not a released one.

    Raises:
        ConvertError: A recipe is unknown or wrong, two have one name, or the model has one
            already.
        GptOssError: The model cannot be found or read.
    """
    if name is None:
        return [_released(size, recipes) for size in RELEASED]
    found = _find(name, find_folder)
    if isinstance(found, _Released):
        if found.recipe is None:
            return [_released(found.size, recipes)]
        if recipes:
            raise ConvertError(
                f"{name} has a recipe in its name, so none can be asked for besides.",
                hint=f"gptoss-mlx fit {found.size} --recipe {recipes[0]}",
            )
        return [_released(found.size, [found.recipe])]
    checkpoint = found
    if checkpoint.layout is not Layout.MLX:
        packings = _packings(checkpoint.config, recipes)
        return [Target(checkpoint.folder.name, checkpoint.config, packings)]
    if recipes:
        raise ConvertError(
            f"{checkpoint.folder.name} is converted, and keeps its own recipe.",
            hint=f"gptoss-mlx fit {checkpoint.folder}",
        )
    return [_converted(checkpoint)]


def find_packed(
    name: str, find_folder: FindFolder = store.resolve
) -> tuple[str, ModelConfig, QuantizationOf]:
    """Find a model as it is quantized, or would be by the recipe of its name.

    Args:
        name: As in ``find_targets``. Without a recipe a released model has the default.
        find_folder: As in ``find_targets``.

    Returns:
        Its name, shape and packing.

    Raises:
        GptOssError: The model cannot be found or read.
    """
    found = _find(name, find_folder)
    if isinstance(found, Checkpoint):
        return found.folder.name, found.config, _own(found)
    recipe = found.recipe or DEFAULT_RECIPE
    return f"{found.size} {recipe}", RELEASED[found.size], recipe_named(recipe).packing


def _find(name: str, find_folder: FindFolder) -> _Released | Checkpoint:
    size, recipe = released_size(name), None
    start, _, end = name.rpartition("-")
    if end in RECIPE_NAMES and (of_start := released_size(start)) is not None:
        size, recipe = of_start, end
    # A folder that happens to be called 20b is one that was asked for.
    if size is not None and not expanded(name).is_dir():
        return _Released(size, recipe)
    return open_checkpoint(find_folder(name))


def _released(size: str, recipes: Sequence[str]) -> Target:
    config = RELEASED[size]
    return Target(f"gpt-oss-{size}", config, _packings(config, recipes))


def _packings(config: ModelConfig, recipes: Sequence[str]) -> Mapping[str, QuantizationOf]:
    typed_as: dict[str, str] = {}
    found: dict[str, QuantizationOf] = {}
    for typed in recipes or RECIPES:
        recipe = find_recipe(typed)
        before = typed_as.setdefault(recipe.name, typed)
        if expanded(typed).resolve() != expanded(before).resolve():
            raise ConvertError(
                f"Recipes must have different names but {before} and {typed} are both "
                f"called {recipe.name}.",
                hint="Rename one of the files.",
            )
        check_recipe(recipe, _columns(config))
        found[recipe.name] = recipe.packing
    return found


def _converted(checkpoint: Checkpoint) -> Target:
    summary = read_summary(checkpoint.folder)
    recipe = summary.recipe if summary is not None else None
    return Target(
        checkpoint.folder.name,
        checkpoint.config,
        {recipe or "its own": _own(checkpoint)},
    )


def _own(checkpoint: Checkpoint) -> QuantizationOf:
    return lambda module, columns: checkpoint.quantization_of(module)


def _columns(config: ModelConfig) -> dict[str, int]:
    """Return the columns of each matrix that is not an expert's, by its module's path."""
    hidden = config.hidden_size
    columns = {"model.embed_tokens": hidden, "lm_head": hidden}
    for layer in range(config.num_hidden_layers):
        prefix = f"model.layers.{layer}"
        columns |= {f"{prefix}.self_attn.{letter}_proj": hidden for letter in "qkv"}
        columns[f"{prefix}.self_attn.o_proj"] = config.num_attention_heads * config.head_dim
        columns[f"{prefix}.mlp.router"] = hidden
    return columns
