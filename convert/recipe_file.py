"""Reads a recipe of one's own from a TOML file, and checks it against a model."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from gptoss_mlx.config import AFFINE_BITS, AFFINE_GROUP_SIZES
from gptoss_mlx.errors import ConvertError
from gptoss_mlx.files import read_file, short

from .recipes import AS_RELEASED, RECIPES, Format, Recipe, is_dense, recipe_named

__all__ = ["check_recipe", "find_recipe"]

_MAX_BYTES = 1 << 20
# It becomes the end of a folder's name.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")

_EXAMPLE = 'Write it like this: [weights] with a line such as "*.self_attn.*" = 8'


def find_recipe(name: str) -> Recipe:
    """Return a recipe.

    Args:
        name: The name of one of ours, or the path of a TOML file.

    Raises:
        ConvertError: The name is unknown, or the file is not a recipe.
        StorageError: The file cannot be read.
    """
    if name in RECIPES or not name.endswith(".toml"):
        return recipe_named(name)
    return _read(Path(name).expanduser())


def check_recipe(recipe: Recipe, columns: Mapping[str, int]) -> None:
    """Refuse a recipe that does not fit a model.

    Args:
        recipe: The recipe.
        columns: The columns of every weight of the model, by the path of its module.

    Raises:
        ConvertError: A pattern decides about no weight, or a weight cannot have its format.
    """
    if recipe.name in RECIPES:
        return
    deciding = {recipe.pattern_of(module) for module in columns}
    for pattern in recipe.formats:
        if pattern not in deciding:
            raise ConvertError(
                f"Recipe {recipe.name}: {short(pattern)} {_problem(pattern, columns)}.",
                hint="The weights are *.self_attn.{q,k,v,o}_proj, model.embed_tokens and "
                "lm_head.",
            )
    for module, count in columns.items():
        _check_columns(recipe, module, count)
        _check_fused(recipe, module, columns)


def _read(path: Path) -> Recipe:
    try:
        content = read_file(path, max_bytes=_MAX_BYTES).decode()
        values = tomllib.loads(content)
    except UnicodeDecodeError as error:
        raise ConvertError(f"{path}: must be UTF-8.", hint=_EXAMPLE) from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConvertError(f"{path}: must be TOML: {error}.", hint=_EXAMPLE) from error
    if not _NAME.fullmatch(path.stem) or path.stem in RECIPES:
        raise ConvertError(
            f"{path}: its name becomes the recipe's, and must be of letters, digits, '-', "
            f"'_' and '.', and none of {', '.join(RECIPES)}.",
            hint="Rename it, for example to mine.toml",
        )
    for key in values:
        if key not in ("summary", "weights"):
            raise ConvertError(
                f"{path}: there must be summary and [weights] alone but there is "
                f"{short(key)}.",
                hint=_EXAMPLE,
            )
    summary, weights = values.get("summary", f"as in {path.name}"), values.get("weights")
    if not isinstance(summary, str) or len(summary.splitlines()) != 1:
        raise ConvertError(
            f"{path}: summary must be one line of text but is {short(summary)}.",
            hint='Write, for example: summary = "attention in 6 bits"',
        )
    if not isinstance(weights, dict) or not weights:
        raise ConvertError(f"{path}: a table [weights] is missing.", hint=_EXAMPLE)
    formats = {pattern: _format(path, pattern, value) for pattern, value in weights.items()}
    return Recipe(path.stem, summary, formats)


def _format(path: Path, pattern: str, value: Any) -> Format:
    """Read the right side of an entry: ``8``, ``"released"``, or bits and group_size."""
    if value == "released":
        return AS_RELEASED
    bits, group_size = value, None
    if isinstance(value, dict) and set(value) <= {"bits", "group_size"}:
        bits, group_size = value.get("bits"), value.get("group_size")
    if _is_one_of(bits, AFFINE_BITS) and (
        group_size is None or _is_one_of(group_size, AFFINE_GROUP_SIZES)
    ):
        return Format(bits, group_size)
    raise ConvertError(
        f"{path}: {short(pattern)} must be bits ({_listed(AFFINE_BITS)}), "
        f'"released", or {{ bits = 8, group_size = 64 }} with a group_size of '
        f"{_listed(AFFINE_GROUP_SIZES)}, but is {short(value)}.",
        hint=f"Write, for example: {pattern!r} = 8",
    )


def _is_one_of(value: object, allowed: tuple[int, ...]) -> bool:
    return type(value) is int and value in allowed


def _listed(values: tuple[int, ...]) -> str:
    return ", ".join(map(str, values))


def _problem(pattern: str, columns: Mapping[str, int]) -> str:
    matching = [module for module in columns if fnmatchcase(module, pattern)]
    if not matching:
        return "matches no weight of this model"
    if not any(is_dense(module) for module in matching):
        return f"matches {matching[0]}, which every recipe keeps as released"
    return "decides nothing: later entries match all of its weights"


def _check_columns(recipe: Recipe, module: str, columns: int) -> None:
    pattern = recipe.pattern_of(module)
    if pattern is None or recipe.formats[pattern].bits is None:
        return
    if recipe.packing(module, columns) is None:
        size = recipe.formats[pattern].group_size or "32 or 64"
        raise ConvertError(
            f"Recipe {recipe.name}: {short(pattern)} must have a group_size that divides "
            f"the {columns:,} columns of {module}, which {size} does not.",
            hint='Keep it as released: = "released"',
        )


def _check_fused(recipe: Recipe, module: str, columns: Mapping[str, int]) -> None:
    """Check that q, k and v of a layer have one format: they are multiplied at once."""
    start, _, last = module.rpartition(".")
    first = f"{start}.q_proj"
    if last not in ("k_proj", "v_proj") or first not in columns:
        return
    if recipe.packing(first, columns[first]) != recipe.packing(module, columns[module]):
        raise ConvertError(
            f"Recipe {recipe.name}: {first} and {module} must have one format but do not.",
            hint='Name them together: "*.self_attn.[qkv]_proj" = 8',
        )
