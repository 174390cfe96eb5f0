"""The answer alone, as text: what a pipe gets."""

from __future__ import annotations

from gptoss_mlx.conversation.turn import TurnEvent
from gptoss_mlx.harmony.parse import Delta

__all__ = ["AnswerText"]


class AnswerText:
    """Picks out of a turn what is meant for the user, piece by piece.

    Reasoning, calls, and what is said before a call are left out. A channel that nobody
    knows is not: nothing that may be the answer is lost. Two messages are parted by a
    line's end.

    Attributes:
        text: All of it so far.
    """

    def __init__(self) -> None:
        self.text = ""
        self._last: Delta | None = None

    def push(self, event: TurnEvent) -> str:
        """Take the next event; return what it adds to the answer."""
        if (
            not isinstance(event, Delta)
            or event.recipient is not None
            or event.channel in ("analysis", "commentary")
        ):
            return ""
        parted = self._last is not None and event.index != self._last.index
        self._last = event
        added = f"\n{event.text}" if parted else event.text
        self.text += added
        return added
