from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt
import pytest

from gptoss_mlx.errors import ConfigError
from gptoss_mlx.generation.sampling import (
    Sampling,
    keep_likely,
    make_logits_processors,
    make_sampler,
    read_sampling_defaults,
)

PROBABILITIES = [0.1, 0.4, 0.2, 0.3]
LOGITS = mx.log(mx.array([PROBABILITIES]))

Floats = npt.NDArray[np.float32]


def plainly_kept(logits: Floats, top_k: int, top_p: float, min_p: float) -> list[int]:
    """Say which tokens stay, one filter after the other, with NumPy and loops."""
    kept = sorted(range(len(logits)), key=lambda token: (-logits[token], token))
    if top_k:
        kept = kept[:top_k]
    if top_p < 1:
        weights = np.exp(logits[kept] - logits.max())
        shares, before, count = weights / weights.sum(), np.float32(0), 0
        while count < len(kept) and (count == 0 or before < top_p):
            before += shares[count]
            count += 1
        kept = kept[:count]
    if min_p:
        kept = [t for t in kept if np.exp(logits[t] - logits.max()) >= min_p]
    return sorted(kept)


def chi_square_p(counts: npt.NDArray[np.int64], probabilities: Floats) -> float:
    """Say how often chance alone differs as much. The degrees of freedom must be even."""
    assert len(counts) % 2 == 1
    expected = probabilities / probabilities.sum() * counts.sum()
    half = float(((counts - expected) ** 2 / expected).sum()) / 2
    terms = [half**i / math.factorial(i) for i in range((len(counts) - 1) // 2)]
    return math.exp(-half) * sum(terms)


def frequencies(sampler: Any, draws: int = 20_000) -> list[float]:
    """Draw from LOGITS many times; return each token's share."""
    drawn = np.array(sampler(mx.broadcast_to(LOGITS, (draws, 4))))
    return [float(np.mean(drawn == token)) for token in range(4)]


def test_temperature_zero_takes_the_likeliest() -> None:
    """The draw is not random."""
    assert make_sampler(0)(mx.array([[0.0, 3.0, 2.0], [5.0, 1.0, 2.0]])).tolist() == [1, 0]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_come_as_often_as_their_probability(temperature: float) -> None:
    """Temperature divides the logits."""
    expected = np.array(PROBABILITIES) ** (1 / temperature)

    actual = frequencies(make_sampler(temperature, seed=1))

    np.testing.assert_allclose(actual, expected / expected.sum(), atol=0.02)


@pytest.mark.parametrize(
    ("top_p", "kept"),
    [(1e-9, [1]), (0.39, [1]), (0.6, [1, 3]), (0.85, [1, 2, 3]), (0.99, [0, 1, 2, 3])],
)
def test_top_p_keeps_the_fewest_tokens_that_reach_it(top_p: float, kept: list[int]) -> None:
    """Those kept have their logits, the others -inf."""
    logits = np.array(keep_likely(LOGITS, top_p=top_p)[0])

    assert np.flatnonzero(logits > -np.inf).tolist() == kept
    np.testing.assert_array_equal(logits[kept], np.array(LOGITS)[0, kept])


def test_top_p_applies_to_what_is_drawn() -> None:
    """Tokens outside the top_p are never drawn."""
    shares = frequencies(make_sampler(1.0, 0.6, seed=1))

    assert shares[0] == shares[2] == 0
    assert shares[1] == pytest.approx(4 / 7, abs=0.02)


def test_a_seed_draws_the_same_tokens() -> None:
    """Two samplers of one seed agree over many draws, two seeds do not."""
    logits = mx.zeros((1, 1000))

    def drawn(seed: int) -> list[object]:
        sampler = make_sampler(seed=seed)
        return [sampler(logits).item() for _ in range(10)]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
    assert len(set(drawn(1))) > 1


@pytest.mark.parametrize("arguments", [(-1.0,), (float("nan"),), (1.0, 0.0), (1.0, 1.1)])
def test_numbers_out_of_range_are_refused(arguments: tuple[float, ...]) -> None:
    """The message has the rule."""
    with pytest.raises(ValueError, match=r"\[make_sampler\] \w+ must be"):
        make_sampler(*arguments)


def test_a_model_can_ask_for_no_chance(tmp_path: Path) -> None:
    """do_sample: false in generation_config.json means temperature 0."""
    (tmp_path / "generation_config.json").write_text('{"do_sample": false}')

    assert read_sampling_defaults(tmp_path) == Sampling(temperature=0)


@pytest.mark.parametrize("content", [None, {"do_sample": True}])
def test_what_a_model_does_not_say_is_one(tmp_path: Path, content: Any) -> None:
    """Without the file, or with the released one, probabilities are the model's own."""
    if content is not None:
        (tmp_path / "generation_config.json").write_text(json.dumps(content))

    assert read_sampling_defaults(tmp_path) == Sampling(1.0, 1.0, 0, 0.0, 1.0, seed=None)


@pytest.mark.parametrize(
    "key",
    ["do_sample", "temperature", "top_p", "top_k", "min_p", "repetition_penalty"],
)
def test_null_in_a_model_s_folder_is_as_good_as_absent(tmp_path: Path, key: str) -> None:
    """Transformers writes null for what is not set."""
    (tmp_path / "generation_config.json").write_text(json.dumps({key: None}))

    assert read_sampling_defaults(tmp_path) == Sampling()


@pytest.mark.parametrize("number", [10**39, pytest.param(10**400, id="10^400"), 1e39])
def test_numbers_that_float32_cannot_hold_are_refused(number: float) -> None:
    """MLX cannot divide by them, and the message stays short."""
    with pytest.raises(ValueError, match=r"temperature must be 0 or more but") as caught:
        Sampling(temperature=number)
    assert len(str(caught.value)) < 160
    with pytest.raises(ValueError, match=r"repetition_penalty must be"):
        Sampling(repetition_penalty=number)


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir])
def test_sampling_defaults_that_are_no_file_are_refused(tmp_path: Path, make: Any) -> None:
    """A pipe would block the reader."""
    make(tmp_path / "generation_config.json")

    with pytest.raises(ConfigError, match=r"generation_config.json: is not a file"):
        read_sampling_defaults(tmp_path)


@pytest.mark.parametrize(
    "value", ["hot", -1, [1], 10**39, pytest.param(10**4_000, id="10^4000")]
)
def test_wrong_numbers_in_a_model_s_folder_are_refused(tmp_path: Path, value: Any) -> None:
    """The error names the file and what it found."""
    path = tmp_path / "generation_config.json"
    path.write_text(json.dumps({"temperature": value}))

    with pytest.raises(ConfigError, match=r"g.json: temperature must be a num") as caught:
        read_sampling_defaults(tmp_path)
    assert caught.value.hint == f"Correct temperature there, or remove it: {path}"
    assert len(str(caught.value)) < len(str(path)) + 150


FILTERS = [
    {"top_k": 1},
    {"top_k": 7},
    {"top_k": 999},
    {"top_p": 0.1},
    {"top_p": 0.9},
    {"min_p": 0.05},
    {"min_p": 1.0},
    {"top_k": 50, "top_p": 0.8, "min_p": 0.02},
    {"top_p": 0.95, "min_p": 0.1},
]


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("filters", FILTERS, ids=str)
def test_filters_keep_what_a_plain_implementation_keeps(
    filters: dict[str, Any], ties: bool
) -> None:
    """On random logits, in batches, also with many equally likely tokens."""
    random = np.random.RandomState(0)
    logits = (random.standard_normal((20, 500)) * 3).astype(np.float32)
    if ties:
        logits = np.round(logits)

    actual = np.array(keep_likely(mx.array(logits), **filters))

    rule = {"top_k": 0, "top_p": 1.0, "min_p": 0.0} | filters
    for row, before in zip(actual, logits, strict=True):
        kept = plainly_kept(before, **rule)
        assert np.flatnonzero(row > -np.inf).tolist() == kept
        np.testing.assert_array_equal(row[kept], before[kept])


@pytest.mark.parametrize("temperature", [0.3, 1.0, 1.7])
@pytest.mark.parametrize("filters", FILTERS, ids=str)
def test_a_seed_draws_what_a_plain_implementation_draws(
    filters: dict[str, Any], temperature: float
) -> None:
    """The key of the seed is split for each draw; the noise is Gumbel's."""
    random = np.random.RandomState(1)
    sampler = make_sampler(temperature, seed=42, **filters)
    key = mx.random.key(42)
    rule = {"top_k": 0, "top_p": 1.0, "min_p": 0.0} | filters
    for _ in range(20):
        logits = (random.standard_normal(300) * 2).astype(np.float32)
        key, own = mx.random.split(key)
        noise = np.array(mx.random.gumbel((1, 300), key=own))[0]
        cooled = (logits - logits.max()) / np.float32(temperature)
        kept = plainly_kept(cooled, **rule)

        assert sampler(mx.array(logits[None])).item() == max(
            kept, key=lambda token: cooled[token] + noise[token]
        )


@pytest.mark.parametrize(
    "filters",
    [{}, {"temperature": 0.6}, {"top_k": 7}, {"top_p": 0.8}, {"min_p": 0.2}],
    ids=str,
)
def test_frequencies_pass_a_chi_square_test(filters: dict[str, Any]) -> None:
    """20,000 seeded draws differ from the probabilities no more than chance allows."""
    random = np.random.RandomState(5)
    logits = (random.standard_normal(31) * 1.2).astype(np.float32)
    rule = {"top_k": 0, "top_p": 1.0, "min_p": 0.0} | filters
    cooled = logits / np.float32(rule.pop("temperature", 1.0))
    kept = plainly_kept(cooled, **rule)
    sampler = make_sampler(seed=3, **filters)

    drawn = np.array(sampler(mx.broadcast_to(mx.array(logits), (20_000, 31))))

    assert set(drawn.tolist()) <= set(kept)
    counts = np.bincount(drawn, minlength=31)[kept]
    weights = np.exp(cooled[kept])
    if len(kept) % 2 == 0:  # the two rarest count as one
        rare = np.argsort(weights)[:2]
        counts = np.append(np.delete(counts, rare), counts[rare].sum())
        weights = np.append(np.delete(weights, rare), weights[rare].sum())
    assert chi_square_p(counts, weights) > 0.01
    assert chi_square_p(counts, weights**1.1) < 0.01  # the test can fail


def test_a_tiny_temperature_is_still_a_probability() -> None:
    """Dividing large logits by it makes no infinities to choose between."""
    logits = mx.array([[3e4, 2.9e4, -3e4]])

    assert make_sampler(1e-38, seed=1)(logits).item() == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"top_k": -1}, "top_k must be 0 or more but got -1"),
        ({"min_p": 1.5}, "min_p must be from 0 to 1 but got 1.5"),
        ({"temperature": math.inf}, "temperature must be 0 or more but got inf"),
        ({"seed": -1}, "seed must be an integer from 0 to"),
        ({"seed": 1.5}, "seed must be an integer from 0 to"),
    ],
)
def test_filters_out_of_range_are_refused(arguments: Any, message: str) -> None:
    """The message names the rule and what was found."""
    with pytest.raises(ValueError, match=message):
        make_sampler(**arguments)


def test_a_bias_is_added() -> None:
    """Only to the given tokens."""
    (process,) = make_logits_processors(logit_bias={1: 2.5, 3: -100})

    logits = process(mx.array([0]), mx.array([[1.0, 2.0, 3.0, 4.0]]))

    assert logits.tolist() == [[1.0, 4.5, 3.0, -96.0]]


@pytest.mark.parametrize("penalty", [0.8, 1.3])
@pytest.mark.parametrize("context", [1, 5, 64])
def test_a_repetition_penalty_is_that_of_a_plain_implementation(
    penalty: float, context: int
) -> None:
    """Once for each token in the last text, however often it is there."""
    random = np.random.RandomState(2)
    (process,) = make_logits_processors(
        repetition_penalty=penalty, repetition_context_tokens=context
    )
    for length in (1, 4, 30):
        tokens = random.randint(0, 40, length)
        logits = random.standard_normal(40).astype(np.float32)
        expected = logits.copy()
        for token in set(tokens[-context:].tolist()):
            expected[token] *= penalty if logits[token] <= 0 else 1 / penalty

        actual = process(mx.array(tokens), mx.array(logits[None]))

        np.testing.assert_allclose(np.array(actual)[0], expected, rtol=1e-6)


def test_a_repetition_penalty_leaves_special_tokens_alone() -> None:
    """Otherwise a long answer could not end its message."""
    (process,) = make_logits_processors(repetition_penalty=2.0)
    logits = mx.ones((1, 201_088))

    changed = process(mx.array([5, 199_997, 199_998, 200_002, 200_008]), logits)

    assert np.flatnonzero(np.array(changed)[0] != 1).tolist() == [5, 199_997]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"repetition_penalty": 0}, "repetition_penalty must be over 0 but got 0"),
        ({"repetition_context_tokens": 0}, "must be 1 or more but got 0"),
        ({"logit_bias": {-1: 1.0}}, "logit_bias must be for token ids but got -1"),
        ({"logit_bias": {1: math.nan}}, "logit_bias must be numbers but got nan"),
    ],
)
def test_wrong_processors_are_refused(arguments: Any, message: str) -> None:
    """The error comes when they are made."""
    with pytest.raises(ValueError, match=message):
        make_logits_processors(**arguments)


def test_a_bias_past_the_vocabulary_is_refused() -> None:
    """MLX would write past the end of the logits without a word."""
    (process,) = make_logits_processors(logit_bias={4: 1.0})

    with pytest.raises(ValueError, match="for ids below 4 but got 4"):
        process(mx.array([0]), LOGITS)


def test_no_processors_are_made_for_nothing() -> None:
    """So that decoding need not keep its text on the device."""
    assert make_logits_processors(logit_bias={}, repetition_penalty=1.0) == []


def test_all_numbers_of_a_model_s_folder_are_read(tmp_path: Path) -> None:
    """With transformers' names; null counts as missing."""
    path = tmp_path / "generation_config.json"
    numbers = {"temperature": 0.7, "top_p": None, "top_k": 20, "min_p": 0.1}
    path.write_text(json.dumps({**numbers, "repetition_penalty": 1.1}))

    assert read_sampling_defaults(tmp_path) == Sampling(0.7, 1.0, 20, 0.1, 1.1)


@pytest.mark.parametrize(
    ("name", "value"),
    [("top_p", 0), ("top_p", 1.5), ("top_k", 2.5), ("min_p", -1), ("top_k", True)],
)
def test_a_wrong_number_is_named(tmp_path: Path, name: str, value: Any) -> None:
    """The error has the file, the name, the rule and the value."""
    path = tmp_path / "generation_config.json"
    path.write_text(json.dumps({name: value}))

    with pytest.raises(ConfigError, match=rf"config.json: {name} must be .* is {value}"):
        read_sampling_defaults(tmp_path)
