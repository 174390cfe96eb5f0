"""Stops an answer at a text, however it is cut into tokens."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["StopStrings"]


class StopStrings:
    """Finds the first of some texts in a stream of text.

    Attributes:
        found: The text that was found, or None.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        """Look for ``texts``.

        Raises:
            ValueError: One is empty.
        """
        if "" in texts:
            raise ValueError("[StopStrings] a text to stop at must not be empty.")
        self._texts = tuple(texts)
        self._held = ""
        self.found: str | None = None

    def push(self, text: str) -> str:
        """Take what comes next.

        Returns:
            What can be shown: nothing of a text that was found, and nothing that may yet
            become one.
        """
        if self.found is not None:
            return ""
        self._held += text
        places = [
            (place, -len(stop), stop)
            for stop in self._texts
            if (place := self._held.find(stop)) >= 0
        ]
        if places:
            place, _, self.found = min(places)
            shown, self._held = self._held[:place], ""
            return shown
        longest = max(
            (
                n
                for stop in self._texts
                for n in range(1, min(len(stop), len(self._held) + 1))
                if self._held.endswith(stop[:n])
            ),
            default=0,
        )
        end = len(self._held) - longest
        shown, self._held = self._held[:end], self._held[end:]
        return shown

    def flush(self) -> str:
        """Return what was held back, when no more text comes, and start anew."""
        shown, self._held = self._held, ""
        return shown
