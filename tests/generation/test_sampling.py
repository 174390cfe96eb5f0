from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from gptoss_mlx.errors import ConfigError
from gptoss_mlx.generation.sampling import default_sampler, keep_top_p, make_sampler

PROBABILITIES = [0.1, 0.4, 0.2, 0.3]
LOGITS = mx.log(mx.array([PROBABILITIES]))


def frequencies(sampler: Any, draws: int = 20_000) -> list[float]:
    """Draw from LOGITS many times; return each token's share."""
    drawn = np.array(sampler(mx.broadcast_to(LOGITS, (draws, 4))))
    return [float(np.mean(drawn == token)) for token in range(4)]


def test_temperature_zero_takes_the_likeliest() -> None:
    """No chance is left."""
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
    logits = np.array(keep_top_p(LOGITS, top_p)[0])

    assert np.flatnonzero(logits > -np.inf).tolist() == kept
    np.testing.assert_array_equal(logits[kept], np.array(LOGITS)[0, kept])


def test_top_p_applies_to_what_is_drawn() -> None:
    """Tokens outside of it never come."""
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
    """The message names the rule."""
    with pytest.raises(ValueError, match=r"\[make_sampler\] \w+ must be"):
        make_sampler(*arguments)


def test_a_model_can_ask_for_no_chance(tmp_path: Path) -> None:
    """do_sample false in generation_config.json is temperature 0."""
    (tmp_path / "generation_config.json").write_text('{"do_sample": false}')

    assert frequencies(default_sampler(tmp_path), 100) == [0, 1, 0, 0]


@pytest.mark.parametrize("content", [None, {"do_sample": True}])
def test_what_a_model_does_not_say_is_one(tmp_path: Path, content: Any) -> None:
    """With no file, or as the released one is, the probabilities are the model's own."""
    if content is not None:
        (tmp_path / "generation_config.json").write_text(json.dumps(content))

    actual = frequencies(default_sampler(tmp_path, seed=1))

    np.testing.assert_allclose(actual, PROBABILITIES, atol=0.02)


def test_a_model_s_own_numbers_are_used(tmp_path: Path) -> None:
    """top_p in generation_config.json leaves out what is unlikely."""
    (tmp_path / "generation_config.json").write_text('{"top_p": 0.3}')

    assert frequencies(default_sampler(tmp_path), 100) == [0, 1, 0, 0]


@pytest.mark.parametrize("value", ["hot", -1, None, [1]])
def test_wrong_numbers_in_a_model_s_folder_are_refused(tmp_path: Path, value: Any) -> None:
    """The error names the file and what it found."""
    path = tmp_path / "generation_config.json"
    path.write_text(json.dumps({"temperature": value}))

    with pytest.raises(ConfigError, match=r"generation_config.json: temperature must"):
        default_sampler(tmp_path)
