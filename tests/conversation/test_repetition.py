from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import chain, islice, repeat
from pathlib import Path
from random import Random

import pytest

from gptoss_mlx.conversation.repetition import MIN_TOKENS, RepetitionDetector
from gptoss_mlx.tokenizer import load_tokenizer


def noticed_after(tokens: Iterable[int]) -> int | None:
    """Count the tokens until a repetition is noticed."""
    detector = RepetitionDetector()
    for count, token in enumerate(tokens, start=1):
        if detector.push(token):
            return count
    return None


def circle(period: int) -> list[int]:
    """Tokens that differ."""
    return Random(period).sample(range(200_000), period)


@pytest.mark.parametrize(
    ("period", "after"),
    [(1, 1024), (2, 1024), (3, 1024), (170, 1024), (171, 1026), (200, 1200), (256, 1536)],
)
def test_a_circle_is_noticed(period: int, after: int) -> None:
    """At 1,024 tokens, or six times round where that is more."""
    loop = circle(period)
    endless = chain.from_iterable(repeat(loop))

    assert noticed_after(islice(endless, 5000)) == after


@pytest.mark.parametrize("period", [1, 7, 200])
def test_a_circle_is_noticed_wherever_it_begins(period: int) -> None:
    """Text before the repetition does not count."""
    before = circle(3000)
    alone = noticed_after(islice(chain.from_iterable(repeat(circle(period))), 5000))
    after = noticed_after(
        islice(chain(before, chain.from_iterable(repeat(circle(period)))), 9000)
    )

    assert alone is not None
    assert after == len(before) + alone


def test_a_circle_just_too_short_is_left_alone() -> None:
    """One token less than enough, again and again."""
    almost = [*[5] * (MIN_TOKENS - 1), 6]

    assert noticed_after(almost * 4) is None


def test_a_circle_with_a_slip_begins_anew() -> None:
    """A counter in it makes it another text each time."""
    lines = [[*circle(20), 100_000 + n] for n in range(500)]

    assert noticed_after(chain.from_iterable(lines)) is None


def test_a_longer_circle_than_is_looked_for_is_left_alone() -> None:
    """A text of 257 tokens may come again."""
    assert noticed_after(circle(257) * 20) is None


def test_token_zero_is_a_token_like_others() -> None:
    """Nothing before the first token counts as one."""
    assert noticed_after([0] * 5000) == 1024


TABLE = "| name | value |\n|---|---|\n" + "| | 0 |\n" * 150
BOARD = ("+---" * 19 + "+\n" + "|   " * 19 + "|\n") * 12
RULERS = "\n".join(["=" * 400, "-" * 200, "Title", "=" * 400, "." * 300])
MATRIX = "\n".join([" ".join(["0.0"] * 12)] * 16)
XML = "<row><cell>0</cell><cell>0</cell></row>\n" * 60


@pytest.mark.parametrize("text", [TABLE, BOARD, RULERS, MATRIX, XML])
def test_what_repeats_on_purpose_is_left_alone(text: str) -> None:
    """Tables, boards, rulers and markup, up to a thousand tokens of the same."""
    assert noticed_after(load_tokenizer().encode(text)) is None


def test_code_is_left_alone() -> None:
    """Checked with every file of this package."""
    folder = Path(__file__).parents[2] / "gptoss_mlx"
    for file in sorted(folder.rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        assert noticed_after(load_tokenizer().encode(text)) is None


def test_listening_costs_next_to_nothing() -> None:
    """Under 30 µs a token, where the model takes thousands."""
    tokens = circle(3000)
    least = 1.0
    for _ in range(3):
        detector = RepetitionDetector()
        began = time.thread_time()
        for token in tokens:
            detector.push(token)
        least = min(least, (time.thread_time() - began) / len(tokens))

    assert least < 30e-6
