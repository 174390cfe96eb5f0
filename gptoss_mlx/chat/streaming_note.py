"""The line about streamed experts after an answer."""

from __future__ import annotations

from gptoss_mlx.model.expert_slots import StreamingStats
from gptoss_mlx.model.streaming import Streaming

__all__ = ["StreamingNote", "streaming_line"]


def streaming_line(stats: StreamingStats) -> str:
    """Say what streaming has cost.

    Args:
        stats: Of one answer.
    """
    needed = stats.hits + stats.misses
    nbytes = stats.bytes_read
    read = f"{nbytes / 1e9:,.2f} GB" if nbytes >= 1e8 else f"{nbytes / 1e6:,.1f} MB"
    return (
        f"Experts: {stats.hit_rate:.0%} of {needed:,} were in memory, "
        f"{read} were read in {stats.stall_s:.1f} s."
    )


class StreamingNote:
    """Says after an answer what streaming has cost since its question.

    Args:
        streaming: Of the model. None: it says nothing.
    """

    def __init__(self, streaming: Streaming | None = None) -> None:
        self._streaming = streaming
        self._before = StreamingStats()

    def begin(self) -> None:
        """Count from here: a question is asked."""
        if self._streaming is not None:
            self._before = self._streaming.stats.copy()

    def after(self) -> str | None:
        """Return the line after an answer, if the model streams."""
        if self._streaming is None:
            return None
        return streaming_line(self._streaming.stats.since(self._before))
