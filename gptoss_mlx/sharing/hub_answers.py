"""What an answer of the Hub says by its status and headers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gptoss_mlx.sharing.hub_settings import short_text

if TYPE_CHECKING:
    import httpx2

__all__ = ["Dropped", "check_busy", "wrong_range"]

MAX_PAUSE_S = 60.0

_TRANSIENT = (408, 429, 500, 502, 503, 504)
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)")


class Dropped(Exception):  # noqa: N818 - caught by the transfer, never shown
    """A connection ended too early, or the Hub is too busy: another try may help.

    Attributes:
        pause_s: Seconds until the next try, as requested by the Hub; None if not given.
        contact: Whether there was a connection.
    """

    def __init__(
        self, reason: str, *, pause_s: float | None = None, contact: bool = True
    ) -> None:
        super().__init__(reason)
        self.pause_s = pause_s
        self.contact = contact


def check_busy(response: httpx2.Response) -> None:
    """Check that the Hub is not too busy.

    Raises:
        Dropped: It is.
    """
    if response.status_code not in _TRANSIENT:
        return
    pause = response.headers.get("retry-after", "")
    raise Dropped(
        f"the Hub answers with status {response.status_code}",
        pause_s=min(float(pause), MAX_PAUSE_S) if re.fullmatch(r"\d{1,9}", pause) else None,
    )


def wrong_range(response: httpx2.Response, start: int, nbytes: int) -> str | None:
    """Return what a partial answer says to be, if it does not fit the request.

    Args:
        start: The first byte that was requested.
        nbytes: The file's length.
    """
    sent = response.headers.get("content-range", "")
    numbers = _CONTENT_RANGE.fullmatch(sent)
    if (
        numbers is None
        or int(numbers[1]) != start
        or not start <= int(numbers[2]) < nbytes
        or numbers[3] not in (str(nbytes), "*")
    ):
        return short_text(sent) or "no range"
    return None
