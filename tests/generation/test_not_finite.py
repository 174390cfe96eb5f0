"""Weights that are NaN or infinite end in a named error, and never in a token."""

from __future__ import annotations

import io
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from evidence import Note
from side_by_side import our_model
from tiny_checkpoint import read_tensors, write_safetensors, write_tiny_checkpoint

from gptoss_mlx.chat.pipe import answer_lines
from gptoss_mlx.config import RELEASED
from gptoss_mlx.device import compute_dtype
from gptoss_mlx.errors import NotFiniteError
from gptoss_mlx.generation.engine import generate
from gptoss_mlx.generation.prompt_cache import PromptCache
from gptoss_mlx.generation.request import Request
from gptoss_mlx.generation.sampling import Sampling
from gptoss_mlx.llm import load
from gptoss_mlx.model.loading import load_model

MODEL = "model.safetensors"
EXPERTS = "model.layers.1.mlp.experts"
# Bits of bfloat16.
NAN, INFINITY = 0x7FC0, 0x7F80

DRAWS = [
    Sampling(temperature=0),
    Sampling(seed=1),
    Sampling(top_p=0.9, seed=1),
    Sampling(top_k=5, min_p=0.1, repetition_penalty=1.1, seed=1),
]


def damage(folder: Path, name: str, value: int, *, rows: int | slice) -> None:
    """Set some rows of a tensor of ``folder`` to ``value``, as bits."""
    tensors = read_tensors(folder / MODEL)
    tensor = np.array(tensors[name])
    tensor[rows] = value
    write_safetensors(folder / MODEL, {**tensors, name: tensor})


@pytest.mark.parametrize(
    ("name", "value", "rows"),
    [
        ("lm_head.weight", NAN, slice(None)),
        ("lm_head.weight", NAN, 77),
        ("model.norm.weight", NAN, 3),
        ("model.norm.weight", INFINITY, 3),
        ("model.layers.0.self_attn.q_proj.weight", NAN, 3),
        ("model.layers.2.self_attn.v_proj.bias", INFINITY, 3),
        ("model.layers.3.self_attn.sinks", NAN, 0),
        (f"{EXPERTS}.gate_up_proj_scales", 255, slice(None)),
        (f"{EXPERTS}.down_proj_scales", 255, slice(None)),
        ("model.embed_tokens.weight", NAN, 7),
    ],
)
def test_a_weight_that_is_no_number(
    tmp_path: Path, name: str, value: int, rows: int | slice
) -> None:
    """The first token is an error, however it is drawn, and the cache is empty."""
    write_tiny_checkpoint(tmp_path)
    damage(tmp_path, name, value, rows=rows)
    model = load_model(tmp_path, dtype=mx.float32)
    for sampling in DRAWS:
        cache = PromptCache(model)
        with pytest.raises(NotFiniteError, match=r"must be finite but reach (nan|inf)"):
            next(generate(model, Request((5, 6, 7), sampling), cache=cache))
        assert cache.tokens == []


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("position", [0, 99, 255, 511])
def test_one_logit_that_is_no_number(bad: float, position: int, tiny: Path) -> None:
    """Wherever it stands, and at a later token; minus infinity is only never drawn."""
    model = load_model(tiny, dtype=mx.float32)
    really, steps = model.lm_head, iter(range(10))

    def head(hidden: mx.array) -> mx.array:
        logits: mx.array = really(hidden)
        if next(steps) < 2:
            return logits
        return mx.where(mx.arange(512) == position, bad, logits)

    changed: Any = SimpleNamespace(
        model=model.model, lm_head=head, make_cache=model.make_cache
    )
    tokens = generate(changed, Request((5, 6, 7), Sampling(temperature=0)))
    next(tokens)
    next(tokens)
    if bad == -np.inf:
        next(tokens)
        return

    with pytest.raises(NotFiniteError):
        next(tokens)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole tiny checkpoint."""
    folder = tmp_path_factory.mktemp("tiny")
    write_tiny_checkpoint(folder)
    return folder


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that can be asked, one of whose norms is NaN."""
    folder = tmp_path_factory.mktemp("damaged")
    write_tiny_checkpoint(
        folder,
        vocab_size=201_088,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_local_experts=4,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
    )
    damage(folder, "model.norm.weight", NAN, rows=slice(None))
    return folder


def test_whoever_asks_is_told(damaged: Path) -> None:
    """From Python, one answer or a stream, and by pipe."""
    llm = load(damaged)
    ways: list[Callable[[], object]] = [
        lambda: llm.ask("Why?"),
        lambda: list(llm.stream([{"role": "user", "content": "Why?"}])),
        lambda: answer_lines(llm.conversation(), ["Why?"], io.StringIO(), print),
    ]

    for way in ways:
        with pytest.raises(NotFiniteError):
            way()


@pytest.mark.slow
@pytest.mark.parametrize("command", [["ask", "-m", "{}", "Why?"], ["chat", "{}"]])
def test_the_command_ends_with_1(damaged: Path, command: list[str]) -> None:
    """No text is on stdout, and the hint says what helps."""
    done = subprocess.run(
        [sys.executable, "-m", "gptoss_mlx", *(a.format(damaged) for a in command)],
        input="Why?\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert (done.returncode, done.stdout.strip()) == (1, "")
    assert "Error: The model's logits must be finite but reach nan." in done.stderr
    assert "Hint: Download or convert the model again" in done.stderr


@pytest.mark.slow
@pytest.mark.timed
def test_the_check_costs_little_of_a_step(note: Note) -> None:
    """Of gpt-oss-20b's width, against its 24 layers; the head would make it less."""
    released = RELEASED["20b"]
    config = replace(
        released,
        num_hidden_layers=2,
        layer_types=released.layer_types[:2],
        num_local_experts=8,
        vocab_size=32,
    )
    model = our_model(config)
    mx.eval(model.parameters())
    logits = mx.random.normal((1, released.vocab_size)).astype(compute_dtype())
    mx.eval(logits)
    cache = model.make_cache()
    mx.eval(model.model(mx.zeros((1, 8), mx.int32), cache, last_only=True))

    def step() -> None:
        mx.eval(model.model(mx.array([[1]]), cache))

    def draw(*more: mx.array) -> None:
        mx.eval(logits.argmax(), *more)

    def seconds(work: Callable[[], None]) -> float:
        begun = time.perf_counter()
        work()
        return time.perf_counter() - begun

    step()
    layers = released.num_hidden_layers / config.num_hidden_layers
    ratios = []
    for _ in range(15):
        without, with_check = seconds(draw), seconds(lambda: draw(logits.max()))
        ratios.append((with_check - without) / (layers * seconds(step)))
    share = statistics.median(ratios)

    note("finite_check", 100 * share)
    assert share <= 0.005
