"""A prompt through streamed layers, at the depth of gpt-oss-20b."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from tiny_checkpoint import write_tiny_checkpoint

from gptoss_mlx import load_model
from gptoss_mlx.generation.prompt_cache import PromptCache
from gptoss_mlx.model.transformer import Model

LAYERS, EXPERTS, CHUNK = 24, 32, 128
SHARES = (1.0, 0.6, 0.3, 0.01)
BOUND = 1e-4


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As many layers and experts as gpt-oss-20b, and a narrow state."""
    folder = tmp_path_factory.mktemp("narrow")
    write_tiny_checkpoint(
        folder,
        sliding_window=128,
        num_hidden_layers=LAYERS,
        num_local_experts=EXPERTS,
    )
    return folder


def text(length: int) -> list[int]:
    """A text of random tokens."""
    tokens: list[int] = np.random.RandomState(length).randint(0, 512, length).tolist()
    return tokens


def prefilled(model: Model, tokens: list[int]) -> mx.array:
    """The logits after a prompt, which is prefilled as an engine does it."""
    cache = PromptCache(model)
    rest = cache.begin(tokens)
    chunks = [rest[i : i + CHUNK] for i in range(0, len(rest), CHUNK)]
    if cache.is_layerwise:
        hidden = cache.prefill_layerwise(chunks)
    else:
        for chunk in chunks:
            hidden = cache.prefill(chunk)
    assert hidden is not None
    return model.lm_head(hidden)


@pytest.mark.parametrize("length", [1, 5, 40, pytest.param(700, marks=pytest.mark.slow)])
def test_a_prompt_gives_the_resident_models_logits(narrow: Path, length: int) -> None:
    """Bit for bit where a layer needs no more experts than there are slots.

    Otherwise a token's outputs are added up group by group, so the last bits differ.
    """
    expected = prefilled(load_model(narrow, dtype=mx.float32), text(length))

    for share in SHARES:
        model = load_model(narrow, dtype=mx.float32, resident=share)
        logits = prefilled(model, text(length))
        assert mx.allclose(logits, expected, rtol=0, atol=BOUND)
        if length == 1 or share == 1:
            assert mx.array_equal(logits, expected)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.3, 0.01])
def test_a_prompt_of_700_tokens_reads_each_missing_expert_once(
    narrow: Path, share: float
) -> None:
    """Six chunks of it read as much as one."""
    model = load_model(narrow, dtype=mx.float32, resident=share)
    streaming = model.streaming
    assert streaming is not None

    prefilled(model, text(700))

    # The last layer computes one token, which needs 4 experts.
    once = LAYERS * EXPERTS * streaming.nbytes // (streaming.slots * LAYERS)
    assert 0.9 * once < streaming.stats.bytes_read <= 1.02 * once


@pytest.mark.slow
@pytest.mark.timed
def test_decoding_through_slots_costs_no_time_once_all_experts_are_there(
    tmp_path: Path,
) -> None:
    """Two layers as wide as gpt-oss-20b's: medians of 9 pairs."""
    write_tiny_checkpoint(
        tmp_path,
        hidden_size=2880,
        intermediate_size=2880,
        num_hidden_layers=2,
        num_local_experts=8,  # a token goes to 4 of them, as of 32
        num_attention_heads=64,
        num_key_value_heads=8,
        sliding_window=128,
    )
    plain, slots = load_model(tmp_path), load_model(tmp_path, resident=1)
    for model in (plain, slots):
        mx.eval(model(mx.array([text(64)])))

    def seconds(model: Model) -> float:
        cache = model.make_cache()
        mx.eval(model(mx.array([[1, 2, 3]]), cache))
        began = time.perf_counter()
        for token in range(20):
            mx.eval(model(mx.array([[token]]), cache))
        return time.perf_counter() - began

    pairs = [(seconds(plain), seconds(slots)) for _ in range(9)]
    of_plain, of_slots = (statistics.median(times) for times in zip(*pairs, strict=True))

    assert of_slots <= 1.03 * of_plain, (of_slots, of_plain)
