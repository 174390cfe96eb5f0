from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from gptoss_mlx.chat.streaming_note import StreamingNote, streaming_line
from gptoss_mlx.model.expert_slots import StreamingStats


@pytest.mark.parametrize(
    ("nbytes", "said"),
    [
        (0, "0.0 MB"),
        (8_812_000, "8.8 MB"),
        (99_900_000, "99.9 MB"),
        (100_000_000, "0.10 GB"),
        (1_234_560_000_000, "1,234.56 GB"),
    ],
)
def test_what_was_read_is_said_in_a_unit_that_shows_it(nbytes: int, said: str) -> None:
    """Megabytes below a tenth of a gigabyte."""
    line = streaming_line(StreamingStats(3, 1, nbytes, 0.25))

    assert line == f"Experts: 75% of 4 were in memory, {said} were read in 0.2 s."


def test_what_a_cancelled_answer_has_read_is_not_the_next_ones() -> None:
    """It counts from the question on."""
    streaming = SimpleNamespace(stats=StreamingStats())
    note = StreamingNote(cast(Any, streaming))

    note.begin()
    streaming.stats.misses += 7  # and then Ctrl-C
    note.begin()
    streaming.stats.misses += 2

    assert "of 2 were" in (note.after() or "")


def test_a_model_that_does_not_stream_has_no_line() -> None:
    """However often it is asked."""
    note = StreamingNote()
    note.begin()

    assert note.after() is None
