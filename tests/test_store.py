from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_checkpoint import write_tiny_checkpoint

from gptoss_mlx import store
from gptoss_mlx.config_json import read_config
from gptoss_mlx.errors import ModelNotFoundError, StorageError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an empty store's models."""
    monkeypatch.setenv("GPTOSS_MLX_HOME", str(tmp_path / "home"))
    models = tmp_path / "home" / "models"
    models.mkdir(parents=True)
    return models


def put(folder: Path, name: str, *, recipe: str = "q8", layers: int = 4) -> Path:
    """Put what looks like a converted model into the store, without weights."""
    model = folder / name
    model.mkdir()
    experts = 32 if layers == 24 else 8
    write_tiny_checkpoint(
        model,
        vocab_size=8,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=layers,
        num_local_experts=experts,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=8,
    )
    size = (model / "model.safetensors").stat().st_size
    files = {"model.safetensors": {"bytes": size, "sha256": "0" * 64}}
    manifest = {"format": 1, "recipe": recipe, "files": files}
    (model / "manifest.json").write_text(json.dumps(manifest))
    return model


def test_a_store_that_does_not_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is empty, and looking does not make it."""
    monkeypatch.setenv("GPTOSS_MLX_HOME", str(tmp_path / "none"))

    assert store.models() == []
    assert list(tmp_path.iterdir()) == []


def test_what_is_in_the_store(folder: Path) -> None:
    """By name, with recipe, size and bytes; files and hidden folders are not models."""
    tiny = put(folder, "tiny-exact", recipe="exact")
    large = put(folder, "gpt-oss-20b-q8", layers=24)
    (folder / ".cache").mkdir()
    (folder / "notes.txt").touch()
    found = store.models()

    assert [(model.name, model.path) for model in found] == [
        ("gpt-oss-20b-q8", large),
        ("tiny-exact", tiny),
    ]
    assert [(model.recipe, model.size) for model in found] == [
        ("q8", "20b"),
        ("exact", None),
    ]
    assert [(model.layers, model.experts) for model in found] == [(24, 32), (4, 8)]
    assert found[1].nbytes == sum(
        path.stat().st_size for path in tiny.iterdir() if path.is_file()
    )
    assert all(model.problem is None and not model.unfinished for model in found)


def test_a_model_without_a_manifest(folder: Path) -> None:
    """A folder that was put there by hand counts; nobody knows its recipe."""
    (put(folder, "by-hand") / "manifest.json").unlink()
    (model,) = store.models()

    assert (model.recipe, model.problem, model.layers) == (None, None, 4)


def test_an_unfinished_model(folder: Path) -> None:
    """It is listed as that, with the bytes that are there."""
    (folder / "gpt-oss-20b-q8.partial").mkdir()
    (folder / "gpt-oss-20b-q8.partial" / "x").write_bytes(bytes(100))
    (model,) = store.models()

    assert (model.unfinished, model.nbytes) == (True, 100)


@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [
        ("config.json", None, "must have a config.json"),
        ("config.json", "{", "must be JSON"),
        ("config.json", '{"model_type": "llama"}', "model_type must be 'gpt_oss'"),
        ("manifest.json", "[]", "must be a JSON object"),
        ("model.safetensors", None, "model.safetensors is missing"),
        ("model.safetensors", "", "model.safetensors must have"),
    ],
)
def test_a_broken_model(folder: Path, file: str, content: str | None, problem: str) -> None:
    """It is listed with the reason, and does not hide the others."""
    broken = put(folder, "broken") / file
    put(folder, "whole")
    broken.unlink()
    if content is not None:
        broken.write_text(content)
    first, second = store.models()

    assert first.problem is not None
    assert problem in first.problem
    assert second.problem is None


@pytest.mark.parametrize(
    "files",
    [
        [],
        {"x": 3},
        {"../x": {"bytes": 1, "sha256": "0" * 64}},
        {"x": {"bytes": "1", "sha256": "0" * 64}},
        {"\0": {}},
        {"x" * 300: {"bytes": 1, "sha256": "0" * 64}},
        {"\ud800": {"bytes": 1, "sha256": "0" * 64}},
    ],
)
def test_a_manifest_of_nonsense(folder: Path, files: object) -> None:
    """That model is broken; the others are listed and found."""
    model = put(folder, "odd")
    put(folder, "whole")
    (model / "manifest.json").write_text(json.dumps({"files": files, "recipe": []}))
    odd, whole = store.models()

    assert odd.problem is not None
    assert whole.ready
    assert store.resolve("whole") == folder / "whole"


def test_a_name_in_the_store(folder: Path) -> None:
    """The whole name finds it."""
    assert store.resolve("tiny-q8" if put(folder, "tiny-q8") else "") == (
        folder / "tiny-q8"
    )


def test_a_short_name(folder: Path) -> None:
    """``20b`` is gpt-oss-20b by the preferred recipe, whatever else begins so."""
    put(folder, "20bees")
    put(folder, "gpt-oss-120b-q8")
    put(folder, "gpt-oss-20b-exact", recipe="exact")
    assert store.resolve("20b") == folder / "gpt-oss-20b-exact"

    put(folder, "gpt-oss-20b-q8")
    assert store.resolve("20b") == folder / "gpt-oss-20b-q8"
    assert store.resolve("gpt-oss-20b") == folder / "gpt-oss-20b-q8"
    assert store.resolve("20b-exact") == folder / "gpt-oss-20b-exact"
    assert store.resolve("120b") == folder / "gpt-oss-120b-q8"


def test_a_short_name_passes_over_what_is_broken(folder: Path) -> None:
    """A whole one is taken, by a less preferred recipe if need be."""
    put(folder, "gpt-oss-20b-exact", recipe="exact")
    (put(folder, "gpt-oss-20b-q8") / "config.json").unlink()

    assert store.resolve("20b") == folder / "gpt-oss-20b-exact"


def test_the_released_models_that_are_here(folder: Path) -> None:
    """The larger first, of each the preferred recipe, and nothing that is broken."""
    put(folder, "another")
    assert store.released_models() == []

    for name, size, recipe in (
        ("a", (24, 32), "exact"),
        ("b", (24, 32), "q8"),
        ("c", (36, 128), "exact"),
        ("d", (36, 128), "q8"),
    ):
        config = put(folder, name, recipe=recipe) / "config.json"
        layers, experts = size
        keys = json.loads(config.read_text())
        keys |= {"num_hidden_layers": layers, "num_local_experts": experts}
        keys["layer_types"] = ["sliding_attention", "full_attention"] * (layers // 2)
        config.write_text(json.dumps(keys))
    (folder / "d" / "config.json").unlink()

    assert [model.name for model in store.released_models()] == ["c", "b", "a"]


def test_a_folder(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path is taken as it is; a plain word means the store first."""
    (tmp_path / "work" / "demo").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    assert store.resolve(str(tmp_path / "work")) == tmp_path / "work"
    assert store.resolve("demo") == Path("demo")
    assert store.resolve(".") == Path()

    put(folder, "demo")
    assert store.resolve("demo") == folder / "demo"
    assert store.resolve("./demo") == Path("demo")


def test_a_path_when_the_store_cannot_be_read(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a name needs the store."""

    def refuse() -> list[store.StoredModel]:
        raise StorageError("No store.")

    monkeypatch.setattr(store, "models", refuse)
    assert store.resolve(tmp_path) == tmp_path
    with pytest.raises(StorageError):
        store.resolve("tiny")


def test_a_path_in_the_users_home(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``~`` is understood where no shell did it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine").mkdir()

    assert store.resolve("~/mine") == tmp_path / "mine"


def test_a_name_that_is_not_there(folder: Path) -> None:
    """Close ones are named; else the command that lists, or that gets a first one."""
    with pytest.raises(ModelNotFoundError) as caught:
        store.resolve("nothing")
    assert str(caught.value) == (f"'nothing' is not a folder or a model in {folder}.")
    assert caught.value.hint == "There are no models yet: gptoss-mlx download 20b"

    put(folder, "gpt-oss-120b-q8")
    with pytest.raises(ModelNotFoundError) as caught:
        store.resolve("nothing")
    assert caught.value.hint == "List the models on this machine: gptoss-mlx models"
    with pytest.raises(ModelNotFoundError) as caught:
        store.resolve("gpt-oss-102b-q8")
    assert caught.value.hint == "Name one of these: gpt-oss-120b-q8"


NAMES_OF_20B = ["20b", "20B", "gpt-oss-20b", "openai/gpt-oss-20b", "OpenAI/GPT-OSS-20B"]


@pytest.mark.parametrize("name", NAMES_OF_20B)
def test_a_released_model_that_is_not_there(folder: Path, name: str) -> None:
    """The hint is what downloads it, whatever else is here."""
    put(folder, "gpt-oss-120b-q8")
    with pytest.raises(ModelNotFoundError) as caught:
        store.resolve(name)

    assert caught.value.hint == "gptoss-mlx download 20b"


@pytest.mark.parametrize("name", NAMES_OF_20B)
def test_a_released_model_by_any_of_its_names(folder: Path, name: str) -> None:
    """The short one, the long one and the repository's, in any case."""
    put(folder, "gpt-oss-120b-q8")
    put(folder, "gpt-oss-20b-exact", recipe="exact")

    assert store.resolve(name) == folder / "gpt-oss-20b-exact"


def test_a_folder_that_is_called_like_a_repository(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path that is there is taken as it is."""
    put(folder, "gpt-oss-20b-q8")
    (tmp_path / "openai" / "gpt-oss-20b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)

    assert store.resolve("openai/gpt-oss-20b") == Path("openai/gpt-oss-20b")


def test_a_name_whose_model_is_unfinished(folder: Path) -> None:
    """It is said that it is there, and not whole."""
    (folder / "gpt-oss-20b-q8.partial").mkdir()
    with pytest.raises(ModelNotFoundError, match="is unfinished") as caught:
        store.resolve("20b")

    assert "it continues there" in caught.value.hint


@pytest.mark.parametrize("name", ["", "  ", "a\0b", "a\nb", "\x1b[2J", "\ud800"])
def test_a_name_that_no_terminal_should_print(folder: Path, name: str) -> None:
    """It is refused, and shown escaped."""
    with pytest.raises(ModelNotFoundError, match="must be printable") as caught:
        store.resolve(name)

    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["../models/tiny", "a/b", "openai/gpt-oss-20b", ".."])
def test_a_path_never_names_a_model_of_the_store(folder: Path, name: str) -> None:
    """A text with a separator is a folder or nothing."""
    put(folder, "tiny")
    try:
        found = store.resolve(name)
    except ModelNotFoundError:
        return

    assert found == Path(name)


def test_the_store_does_not_import_mlx() -> None:
    """Listing models does not load MLX."""
    subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, gptoss_mlx.store as s; s.models();"
            "assert not {'mlx', 'numpy'} & set(sys.modules)",
        ],
        check=True,
    )


@pytest.mark.parametrize("home", ["/dev/null", __file__])
def test_a_home_that_is_no_folder_is_refused(
    home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hint names the variable that says so."""
    monkeypatch.setenv("GPTOSS_MLX_HOME", home)

    with pytest.raises(StorageError, match="is not a folder") as caught:
        store.models()
    assert caught.value.hint == "Set GPTOSS_MLX_HOME to a folder."


def test_a_demo_that_was_never_opened_hints_at_opening_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only chat creates it."""
    monkeypatch.setenv("GPTOSS_MLX_HOME", str(tmp_path))

    with pytest.raises(ModelNotFoundError) as caught:
        store.resolve("demo")
    assert caught.value.hint == "Open it once, which creates it: gptoss-mlx chat demo"


@pytest.mark.parametrize(
    "entry",
    ids=["long name", "count", "half a character", "path"],
    argvalues=[
        {"x" * 300: {"bytes": 1, "sha256": "0" * 64}},
        {"model.safetensors": {"bytes": 10**4_000, "sha256": "0" * 64}},
        {"\ud800": {"bytes": 1, "sha256": "0" * 64}},
        {"../../secret": {"bytes": 1, "sha256": "0" * 64}},
    ],
)
def test_one_bad_folder_does_not_break_the_others(
    folder: Path, entry: dict[str, object]
) -> None:
    """It is broken, with the reason; the other is found and is ready."""
    put(folder, "good-q8")
    (put(folder, "bad-q8") / "manifest.json").write_text(json.dumps({"files": entry}))

    assert store.resolve("good") == folder / "good-q8"
    bad, good = store.models()
    assert good.ready
    assert not bad.ready
    assert 0 < len(bad.problem or "") < 500


def test_a_folder_whose_reader_fails_is_broken(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For any unexpected error."""
    put(folder, "good-q8")
    put(folder, "bad-q8")
    really_read = read_config

    def read(path: Path) -> object:
        if path.name == "bad-q8":
            raise RuntimeError("nobody thought of it")
        return really_read(path)

    monkeypatch.setattr(store, "read_config", read)
    bad, good = store.models()

    assert good.ready
    assert bad.problem == (
        f"{folder / 'bad-q8'}: cannot be read: RuntimeError('nobody thought of it')."
    )


@pytest.mark.parametrize("name", ["manifest.json", "config.json", "model.safetensors"])
def test_links_in_a_circle_break_one_folder_alone(folder: Path, name: str) -> None:
    """The other models are listed, and links that are folders' too."""
    put(folder, "good-q8")
    bad = put(folder, "bad-q8")
    (bad / name).unlink()
    (bad / name).symlink_to(name)
    (folder / "loop").symlink_to("loop")

    assert [(model.name, model.ready) for model in store.models()] == [
        ("bad-q8", False),
        ("good-q8", True),
    ]
