from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_checkpoint import write_tiny_checkpoint

from gptoss_mlx import store
from gptoss_mlx.cli import first_model
from gptoss_mlx.device import Machine
from gptoss_mlx.model_choice import best_model, open_model, plan_for
from gptoss_mlx.store import StoredModel

GB = 1_000_000_000

# Prints how often config.json was opened, and how often each header was read.
PROGRAM = """
import collections, json, sys

opened = collections.Counter()

def hook(event, arguments):
    if event == "open" and str(arguments[0]).endswith("/demo/config.json"):
        opened["config.json"] += 1

sys.addaudithook(hook)
from gptoss_mlx.checkpoint import layout, safetensors

read = safetensors.read_header

def counted(path):
    opened[path.name] += 1
    return read(path)

layout.read_header = counted
from gptoss_mlx import load

load("demo")
print(json.dumps(opened))
"""


def machine(gigabytes: float) -> Machine:
    """One that computes in bf16, and lets a program use so much."""
    return Machine(
        "Apple M4", "gpu", "bfloat16", int(1.5 * gigabytes * GB), int(gigabytes * GB)
    )


def put(patch: pytest.MonkeyPatch, *names: str) -> None:
    """Say that these models are in the store, named like 20b-q8."""
    models = [
        StoredModel(name, store.models_folder() / name, size=size, recipe=recipe)
        for name in names
        for size, recipe in [name.split("-")]
    ]
    patch.setattr(store, "models", lambda: models)


@pytest.mark.parametrize(
    ("gigabytes", "chosen"), [(96, "120b-q8"), (24, "20b-q8"), (16, "20b-q8")]
)
def test_the_best_that_fits_is_chosen(
    monkeypatch: pytest.MonkeyPatch, gigabytes: float, chosen: str
) -> None:
    """The larger model, where there is room for it."""
    put(monkeypatch, "120b-q8", "20b-exact", "20b-q8")
    model, reason = best_model(machine(gigabytes))

    assert model is not None
    assert (model.name, reason) == (chosen, "")


def test_a_recipe_that_fits_is_better_than_one_that_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Although the other is preferred where both fit."""
    put(monkeypatch, "20b-exact", "20b-q8")
    monkeypatch.setattr(store, "RECIPE_NAMES", ("exact", "q8"))
    model, _ = best_model(machine(14))

    assert model is not None
    assert model.name == "20b-q8"


def test_where_none_fits_the_smallest_that_streams_is_chosen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The real model with a part of its experts is better than the demo."""
    put(monkeypatch, "120b-q8", "20b-q8")
    model, reason = best_model(machine(8))

    assert model is not None
    assert (model.name, reason) == ("20b-q8", "")


def test_none_that_runs_is_said_with_its_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo opens instead."""
    put(monkeypatch, "20b-q8")
    needed = plan_for("20b", "q8", machine(3)).footprint.total_bytes / GB

    assert best_model(machine(3)) == (
        None,
        f"20b-q8 needs {needed:.1f} GB, and a program may use 3.0 GB here: too little even "
        "for a part of its experts. Using the built-in demo model.",
    )


def test_a_converted_model_of_the_hub_s_cache_is_chosen(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where the store has none: it was downloaded to be used."""
    put(monkeypatch)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    folder = tmp_path / "models--mlx-community--gpt-oss-20b-MXFP4-Q8" / "snapshots" / "a1"
    write_tiny_checkpoint(
        folder,
        vocab_size=8,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=24,
        num_local_experts=32,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=8,
    )
    model, _ = best_model(machine(24))

    assert model is not None
    assert (model.name, model.path) == ("mlx-community/gpt-oss-20b-MXFP4-Q8", folder)
    assert best_model(machine(3))[0] is None
    put(monkeypatch, "20b-q8")
    stored, _ = best_model(machine(24))
    assert stored is not None
    assert stored.name == "20b-q8"


def test_where_none_is_the_command_to_get_one_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In one line."""
    put(monkeypatch)

    assert best_model(machine(24)) == (
        None,
        "No gpt-oss model is downloaded yet: gptoss-mlx download 20b. "
        "Using the built-in demo model.",
    )


def test_a_value_takes_what_its_type_takes() -> None:
    """Two bytes in bf16; in float32 four, so that a model needs more."""
    wide = Machine("cpu", "cpu", "float32", 24 * GB, 16 * GB)

    assert (machine(16).value_bytes, wide.value_bytes) == (2, 4)
    assert (
        plan_for("20b", "q8", wide).footprint.weights_bytes
        > plan_for("20b", "q8", machine(16)).footprint.weights_bytes
    )


def test_where_no_model_is_named_and_none_is_here_the_demo_opens() -> None:
    """The first line has the reason."""
    said: list[str] = []

    assert open_model(None, said.append).folder == store.models_folder() / "demo"
    assert said[0].startswith("No gpt-oss model is downloaded yet: gptoss-mlx download")


@pytest.mark.parametrize(
    ("gigabytes", "size", "how"),
    [
        (96, "120b", ("it fits", "it fits")),
        (20, "20b", ("it runs with", "it fits")),
        (8, "20b", ("it runs with", "it runs with")),
        (3, None, ("it does not fit.", "it does not fit.")),
    ],
)
def test_the_offer_is_what_this_machine_can_hold(
    gigabytes: float, size: str | None, how: tuple[str, ...]
) -> None:
    """Both models with what they need; the larger that fits, or the smallest that runs."""
    made = first_model.make_offer(machine(gigabytes))

    assert made.size == size
    assert made.lines[0].startswith("Apple M4 has ")
    assert f"may use {gigabytes:.1f} GB" in made.lines[0]
    for line, name, word in zip(made.lines[1:], ("120b", "20b"), how, strict=True):
        assert line.startswith(f"gpt-oss-{name} needs ")
        assert f" of conversation: {word}" in line
    assert (made.nbytes > 13 * GB) is (size is not None)


@pytest.mark.parametrize(
    ("names", "offline", "expected"),
    [
        (["lo", "eth0"], "", True),
        (["lo", "eth0"], "1", False),
        (["lo"], "", False),
        (["lo0", "en0"], "0", True),
    ],
)
def test_a_machine_without_a_network_is_not_offered_one(
    monkeypatch: pytest.MonkeyPatch, names: list[str], offline: str, expected: bool
) -> None:
    """Known from its interfaces, or told by HF_HUB_OFFLINE; nothing is asked."""
    monkeypatch.setattr("socket.if_nameindex", lambda: list(enumerate(names)))
    monkeypatch.setenv("HF_HUB_OFFLINE", offline)

    assert first_model.may_have_network() is expected


def test_loading_a_model_reads_each_file_s_description_once() -> None:
    """config.json and the header of each shard, by our own reader."""
    open_model("demo", print)  # So that it is not unpacked below.
    counted = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    opened = json.loads(counted.stdout)

    assert opened.pop("config.json") == 1
    assert opened
    assert set(opened.values()) == {1}
