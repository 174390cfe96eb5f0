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
    return (
        f"Experts: {stats.hit_rate:.0%} of {needed:,} were in memory, "
        f"{stats.bytes_read / 1e9:,.2f} GB were read in {stats.stall_s:.1f} s."
    )


class StreamingNote:
    """Says after each answer what streaming has cost since the last one.

    Args:
        streaming: Of the model. None: it says nothing.
    """

    def __init__(self, streaming: Streaming | None = None) -> None:
        self._streaming = streaming
        self._before = StreamingStats()

    def after(self) -> str | None:
        """Return the line after an answer, if the model streams."""
        if self._streaming is None:
            return None
        stats, self._before = self._streaming.stats.copy(), self._before
        since, self._before = stats.since(self._before), stats
        return streaming_line(since)
