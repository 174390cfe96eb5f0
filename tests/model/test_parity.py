"""Our logits are those of OpenAI's torch reference, from every layout."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from evidence import Note
from golden import CASES, LENGTH, Case, Golden, prefill_logits, tokens_of, write_case
from tiny_checkpoint import write_split_folder

from gptoss_mlx import load_model
from gptoss_mlx.config import RopeScaling
from gptoss_mlx.convert.pipeline import convert_checkpoint
from gptoss_mlx.model import attention, rope
from gptoss_mlx.model.transformer import Model

SHORT, SHORT_BOUND = 48, 1e-4
LONG_BOUND = 5e-4
# Well beyond the window of 128: what is wrong shows here, and so in 1,500 tokens.
ABLATED = 300

QUICK: list[Any] = CASES[:2]  # one of each window
SLOW = [pytest.param(case, marks=pytest.mark.slow) for case in CASES[2:]]


@pytest.fixture(scope="session")
def layouts(
    released: dict[Case, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Callable[[Case], Path]]:
    """Every layout there is of a case's tensors, bf16 where they are not MXFP4."""
    folder = tmp_path_factory.mktemp("layouts")

    def exact(case: Case) -> Path:
        destination = folder / f"{case}-exact"
        if not destination.exists():
            convert_checkpoint(released[case], destination, recipe="exact")
        return destination

    def split(case: Case) -> Path:
        destination = folder / f"{case}-split"
        if not destination.exists():
            write_split_folder(released[case], destination)
        return destination

    return {
        "Hugging Face": lambda case: released[case],
        "original": lambda case: released[case] / "original",
        "split": split,
        "exact": exact,
    }


LAYOUTS = ["Hugging Face", "original", "split", "exact"]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_goldens_belong_to_these_checkpoints(case: Case, tmp_path: Path) -> None:
    """The builder still writes the very bytes that the reference read."""
    assert write_case(case, tmp_path) == Golden.load(case).sha256


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_48_tokens(
    case: Case,
    layout: str,
    layouts: dict[str, Callable[[Case], Path]],
    note: Note,
) -> None:
    """One pass over a short text is within 1e-4."""
    model = load_model(layouts[layout](case), dtype=mx.float32)

    logits = np.array(model(mx.array(tokens_of(case)[None, :SHORT]))[0])

    difference = Golden.load(case).difference(logits, 0, SHORT)
    note("parity_48", difference)
    assert difference <= SHORT_BOUND


@pytest.mark.parametrize("case", [*QUICK, *SLOW], ids=str)
def test_1500_tokens(
    case: Case,
    released: dict[Case, Path],
    note: Note,
) -> None:
    """A text far beyond the window is within 5e-4."""
    model = load_model(released[case], dtype=mx.float32)

    logits = prefill_logits(model, tokens_of(case))

    difference = Golden.load(case).difference(logits, 0, LENGTH)
    note("parity_1500", difference)
    assert difference <= LONG_BOUND


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS[1:])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_1500_tokens_from_every_other_layout(
    case: Case, layout: str, layouts: dict[str, Callable[[Case], Path]]
) -> None:
    """A text far beyond the window is within 5e-4, whatever the layout."""
    model = load_model(layouts[layout](case), dtype=mx.float32)

    logits = prefill_logits(model, tokens_of(case))

    assert Golden.load(case).difference(logits, 0, LENGTH) <= LONG_BOUND


def without_clamp(model: Model) -> None:
    """Let gate and up grow."""
    for layer in model.layers:
        layer.mlp.experts.limit = math.inf


def without_sinks(model: Model) -> None:
    """Let no probability go to the sinks."""
    for layer in model.layers:
        layer.self_attn.sinks = mx.full(layer.self_attn.sinks.shape, -math.inf)


def without_window(model: Model) -> None:
    """Let sliding layers see everything."""
    for layer in model.layers:
        layer.self_attn.window = None


def with_rounded_ramp(model: Model) -> None:
    """What `"truncate": true` would mean: floor and ceil of the ramp's ends."""
    freq = 150_000.0 ** (np.arange(32) / 32)
    ramp = np.clip((np.arange(32) - 8) / (18 - 8), 0, 1)
    inv_freq = ramp / (32 * freq) + (1 - ramp) / freq
    model.model._inv_freq = inv_freq.astype(np.float32)


def without_router_bias(model: Model) -> None:
    """Route by the product alone."""
    for layer in model.layers:
        layer.mlp.router.bias = mx.zeros_like(layer.mlp.router.bias)


def without_gate_up_bias(model: Model) -> None:
    """Drop the last layer's first bias."""
    experts = model.layers[-1].mlp.experts
    experts.gate_up_proj_bias = mx.zeros_like(experts.gate_up_proj_bias)


def without_down_bias(model: Model) -> None:
    """Drop the last layer's second bias."""
    experts = model.layers[-1].mlp.experts
    experts.down_proj_bias = mx.zeros_like(experts.down_proj_bias)


ABLATIONS = [
    without_clamp,
    without_sinks,
    without_window,
    with_rounded_ramp,
    without_router_bias,
    without_gate_up_bias,
    without_down_bias,
]


@pytest.mark.parametrize("ablate", ABLATIONS, ids=lambda ablate: ablate.__name__)
@pytest.mark.parametrize("case", [Case(1, 128), Case(1, 8)], ids=str)
def test_a_part_taken_out_shows_in_300_tokens(
    case: Case, ablate: Callable[[Model], None], released: dict[Case, Path]
) -> None:
    """The parity test would fail without this part."""
    model = load_model(released[case], dtype=mx.float32)
    ablate(model)

    tokens = tokens_of(case)[:ABLATED]
    # The sliding cache would drop what an endless window sees: no cache there.
    chunk = ABLATED if ablate is without_window else 128
    logits = prefill_logits(model, tokens, chunk)

    assert Golden.load(case).difference(logits, 0, ABLATED) > 10 * LONG_BOUND


def test_the_windows_mask_counts_the_token_itself() -> None:
    """A window of 128 sees the token and the 127 before it."""
    mask = attention.attention_mask(300, 300, 128)

    assert isinstance(mask, mx.array)
    seen = np.array(mask).sum(axis=1)
    assert seen.tolist() == [min(i + 1, 128) for i in range(300)]


def test_a_model_with_other_yarn_parameters_uses_them() -> None:
    """The ramp follows the config: a longer original context moves it."""
    released = RopeScaling(32.0, 32.0, 1.0, 4_096)
    longer = RopeScaling(32.0, 32.0, 1.0, 8_192)

    ours, theirs = (rope.yarn_inv_freq(64, 150_000.0, s) for s in (released, longer))

    assert not np.array_equal(ours, theirs)
