from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import pytest
from small_conversion import mlx_lm_logits

from gptoss_mlx import load_model
from gptoss_mlx.checkpoint.folder import open_checkpoint
from gptoss_mlx.config import Quantization
from gptoss_mlx.convert.pipeline import convert_checkpoint
from gptoss_mlx.convert.recipe_file import find_recipe
from gptoss_mlx.convert.recipes import RECIPES
from gptoss_mlx.errors import ConvertError, StorageError
from gptoss_mlx.manifest import read_summary

MINE = """
summary = "the first layer and lm_head in more bits"
[weights]
"*" = 4
"*.self_attn.*" = { bits = 6, group_size = 32 }
"model.layers.0.*" = 8
lm_head = "released"
"""


def write(folder: Path, text: str, name: str = "mine.toml") -> Path:
    """A recipe of a user's own."""
    path = folder / name
    path.write_text(text)
    return path


def test_the_last_pattern_that_matches_holds(tmp_path: Path) -> None:
    """Entries are read from the general to the special one."""
    recipe = find_recipe(str(write(tmp_path, MINE)))

    assert (recipe.name, recipe.summary) == (
        "mine",
        "the first layer and lm_head in more bits",
    )
    assert recipe.packing("model.embed_tokens", 64) == Quantization(64, 4, "affine")
    attention = "model.layers.{}.self_attn.q_proj"
    assert recipe.packing(attention.format(1), 64) == Quantization(32, 6, "affine")
    assert recipe.packing(attention.format(0), 64) == Quantization(64, 8, "affine")
    assert recipe.packing("lm_head", 64) is None
    assert recipe.packing("model.layers.0.mlp.router", 64) is None


def test_a_conversion_by_a_file(source: Path, tmp_path: Path) -> None:
    """Each weight is stored as its entry says, and verify's manifest has the name."""
    recipe = write(tmp_path, MINE)

    folder = convert_checkpoint(source, tmp_path / "out", recipe=str(recipe)).folder

    checkpoint = open_checkpoint(folder)
    table = checkpoint.config.quantization
    assert table is not None
    own = find_recipe(str(recipe))
    for module, packing in table.modules.items():
        if own.pattern_of(module) is not None:
            columns = open_checkpoint(source).views[f"{module}.weight"].shape[1]
            assert packing == own.packing(module, columns), module
    summary = read_summary(folder)
    assert summary is not None
    assert summary.recipe == "mine"
    assert "Recipe `mine`: the first layer" in (folder / "README.md").read_text()


@pytest.mark.parametrize("name", [*RECIPES, "mine.toml"])
def test_both_programs_run_every_recipe(name: str, source: Path, tmp_path: Path) -> None:
    """mlx-lm computes what gptoss-mlx computes, but for the ends of YaRN's ramp."""
    recipe = str(write(tmp_path, MINE)) if name.endswith(".toml") else name

    folder = convert_checkpoint(source, tmp_path / "out", recipe=recipe).folder

    theirs = mlx_lm_logits(folder)
    ours = load_model(folder, dtype=mx.float32)(mx.arange(theirs.shape[1])[None])
    assert ours.shape == theirs.shape
    assert mx.isfinite(theirs).all().item()
    assert mx.isfinite(ours).all().item()


REFUSED = {
    "not TOML": ("[weights", r"must be TOML"),
    "a table is missing": ('summary = "x"', r"a table \[weights\] is missing"),
    "nothing in the table": ("[weights]", r"a table \[weights\] is missing"),
    "another key": ("bits = 8\n[weights]\nlm_head = 8", r"alone but there is 'bits'"),
    "bits that MLX has not": ("[weights]\nlm_head = 7", r"'lm_head' must be bits \(2, 3"),
    "a boolean": ("[weights]\nlm_head = true", r"but is True"),
    "another word": ('[weights]\nlm_head = "bf16"', r"but is 'bf16'"),
    "a group size alone": ("[weights]\nlm_head = { group_size = 32 }", r"must be bits"),
    "a group size of 48": (
        "[weights]\nlm_head = { bits = 8, group_size = 48 }",
        r"group_size of 32, 64, 128",
    ),
    "a summary of two lines": (
        'summary = """a\nb"""\n[weights]\nlm_head = 8',
        r"must be one line of text",
    ),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_a_file_that_is_no_recipe(text: str, message: str, tmp_path: Path) -> None:
    """The error names the file and what is wrong, and the hint shows a right line."""
    path = write(tmp_path, text)

    with pytest.raises(ConvertError, match=message) as caught:
        find_recipe(str(path))

    assert str(caught.value).startswith(f"{path}: ")
    assert "=" in caught.value.hint


MISFITS = {
    "matches nothing": ('[weights]\n"*.attention.*" = 8', r"matches no weight"),
    "the experts": (
        '[weights]\n"*.experts.*" = 8\nlm_head = 8',
        r"'\*\.experts\.\*' matches no weight",
    ),
    "the router": ('[weights]\n"*.router" = 8', r"which every recipe keeps as released"),
    "decided by a later one": ('[weights]\nlm_head = 4\n"*" = 8', r"'lm_head' decides"),
    "q unlike k": ('[weights]\n"*.q_proj" = 8', r"q_proj and .*k_proj must have one form"),
    "a group of more columns": (
        "[weights]\nlm_head = { bits = 8, group_size = 128 }",
        r"group_size that divides the \d+ columns of lm_head, which 128 does not",
    ),
}


@pytest.mark.parametrize(("text", "message"), MISFITS.values(), ids=MISFITS)
def test_a_recipe_that_does_not_fit_the_model(
    text: str, message: str, source: Path, tmp_path: Path
) -> None:
    """It is refused before anything is written."""
    recipe = write(tmp_path, text)

    with pytest.raises(ConvertError, match=message):
        convert_checkpoint(source, tmp_path / "out", recipe=str(recipe))

    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.toml"]


@pytest.mark.parametrize("name", ["q8.toml", "my recipe.toml", ".toml"])
def test_a_file_with_a_name_that_is_no_name_for_a_recipe(name: str, tmp_path: Path) -> None:
    """It would be taken for ours, or make a folder's name with spaces."""
    path = write(tmp_path, MINE, name)

    with pytest.raises(ConvertError, match="its name becomes the recipe's"):
        find_recipe(str(path))


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    """The system's reason, with the path."""
    with pytest.raises(StorageError, match="mine"):
        find_recipe(str(tmp_path / "mine.toml"))


def test_another_file_of_the_same_name_starts_over(source: Path, tmp_path: Path) -> None:
    """A half-done conversion is continued by the same formats only."""
    said: list[str] = []
    recipe = write(tmp_path, "[weights]\nlm_head = 8\n")
    partial = tmp_path / "out.partial"

    def stop(done: int, total: int) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert_checkpoint(
            source,
            tmp_path / "out",
            recipe=str(recipe),
            progress=stop,
            shard_bytes=1 << 20,
        )
    assert partial.exists()
    write(tmp_path, "[weights]\nlm_head = 4\n")

    convert_checkpoint(source, tmp_path / "out", recipe=str(recipe), notice=said.append)

    assert any("has another source, recipe or version" in line for line in said)
