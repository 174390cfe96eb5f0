from __future__ import annotations

from pathlib import Path
from typing import cast

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten
from tiny_checkpoint import write_tiny_checkpoint

from gptoss_mlx import load_model
from gptoss_mlx.errors import FitError
from gptoss_mlx.fit.recording import record_trace
from gptoss_mlx.fit.traces import load_trace, save_trace
from gptoss_mlx.model.transformer import Model

TEXT = [int(token) for token in np.random.RandomState(0).randint(0, 512, 150)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """4 layers of 8 experts, of which a token chooses 4."""
    folder = tmp_path_factory.mktemp("tiny")
    write_tiny_checkpoint(folder)
    return load_model(folder, dtype=mx.float32)


def routed(model: Model, number: int) -> list[set[int]]:
    """The experts with the highest logits of a layer, of each token."""
    seen: list[mx.array] = []
    layer = model.layers[number]
    plain = layer.mlp

    def spy(given: mx.array) -> mx.array:
        seen.append(given)
        out: mx.array = plain(given)
        return out

    layer.mlp = spy  # type: ignore[assignment]
    try:
        mx.eval(model.model(mx.array([TEXT])))
    finally:
        layer.mlp = plain
    logits = np.array(plain.router(seen[0])[0])
    return [set(each) for each in np.argsort(-logits, axis=-1)[:, :4].tolist()]


def names_of(model: Model) -> list[str]:
    """The paths of its parameters."""
    parameters = model.parameters()  # type: ignore[no-untyped-call]
    return list(dict(cast("list[tuple[str, mx.array]]", tree_flatten(parameters))))


def test_what_the_routers_chose_is_recorded(model: Model) -> None:
    """Each token's experts in each layer are those with the highest logits."""
    trace = record_trace(model, TEXT)

    assert trace.chosen.shape == (150, 4, 4)
    assert trace.experts == 8
    for layer in range(4):
        assert list(map(set, trace.chosen[:, layer].tolist())) == routed(model, layer)


def test_chunks_do_not_change_what_is_recorded(model: Model) -> None:
    """The order of a token's experts may differ, not which they are."""
    whole = record_trace(model, TEXT)
    pieces = record_trace(model, TEXT, chunk_tokens=7)

    assert (np.sort(whole.chosen) == np.sort(pieces.chosen)).all()


def test_the_model_is_as_before(model: Model) -> None:
    """Its experts are its own again, and its parameters have their names."""
    experts = [layer.mlp.experts for layer in model.layers]
    names = names_of(model)
    logits = model(mx.array([TEXT]))

    record_trace(model, TEXT[:20])

    assert all(
        layer.mlp.experts is each for layer, each in zip(model.layers, experts, strict=True)
    )
    assert names_of(model) == names
    assert mx.array_equal(model(mx.array([TEXT])), logits)


def test_the_model_is_as_before_after_an_error(model: Model) -> None:
    """A text that cannot be computed leaves nothing behind."""
    experts = [layer.mlp.experts for layer in model.layers]

    with pytest.raises((TypeError, ValueError)):
        record_trace(model, ["no id"])  # type: ignore[list-item]

    assert [layer.mlp.experts for layer in model.layers] == experts


@pytest.mark.parametrize(("tokens", "prompt_tokens"), [(0, 0), (5, 5), (5, -1)])
def test_a_text_without_a_token_after_the_prompt_is_refused(
    model: Model, tokens: int, prompt_tokens: int
) -> None:
    """There would be nothing to simulate."""
    with pytest.raises(FitError, match="must have a token after its prompt but has"):
        record_trace(model, TEXT[:tokens], prompt_tokens=prompt_tokens)


def test_a_recorded_trace_is_read_as_it_was_written(model: Model, tmp_path: Path) -> None:
    """From the model to the file and back."""
    trace = record_trace(model, TEXT, prompt_tokens=100)

    save_trace(trace, tmp_path / "trace.jsonl")
    read = load_trace(tmp_path / "trace.jsonl")

    assert (read.chosen == trace.chosen).all()
    assert (read.experts, read.prompt_tokens) == (8, 100)
