"""Shows who fetches what, on stderr."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from gptoss_mlx.cli.output import say
from gptoss_mlx.controls import escaped

if TYPE_CHECKING:
    from rich.table import Table

    from gptoss_mlx.sharing.fetchers import Fetch, Fetchers

__all__ = ["FetchLines", "show_fetches"]

LOOK_S = 0.25
LINE_S = 10.0
ROW_S = 15.0
"""Seconds for which a fetch is shown after its last byte."""
MAX_ROWS = 20


def show_fetches(fetchers: Fetchers) -> None:
    """Show fetches until an exception, such as Ctrl-C: rows on a terminal, else lines."""
    if sys.stderr.isatty():
        _show_rows(fetchers)
    lines = FetchLines(fetchers)
    while True:
        time.sleep(LOOK_S)
        for line in lines.news():
            say(line)


class FetchLines:
    """What has changed since the last look, in lines.

    A fetch gets a line at its begin and its end, and every ten seconds between.
    """

    def __init__(self, fetchers: Fetchers) -> None:
        self._fetchers = fetchers
        self._looked = 0.0
        self._told: dict[tuple[str, str], tuple[float, int]] = {}

    def news(self) -> list[str]:
        """Return the new lines."""
        now = time.monotonic()
        # A little before the last look: a byte may have been sent during it.
        fetches = self._fetchers.since(self._looked - LOOK_S)
        self._looked = now
        lines = []
        for fetch in fetches:
            key = fetch.client, fetch.file
            when, percent = self._told.get(key, (0.0, -1))
            is_new = percent < 0 or fetch.percent < percent
            is_done = fetch.percent == 100 and percent < 100
            if is_new or is_done or (now - when > LINE_S and fetch.percent > percent):
                self._told[key] = now, fetch.percent
                lines.append(f"{fetch.client} fetches {fetch.file}: {fetch.percent} %")
        return lines


def _show_rows(fetchers: Fetchers) -> None:
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as live:
        while True:
            fetches = fetchers.since(time.monotonic() - ROW_S)
            live.update(_table(fetches), refresh=True)
            time.sleep(LOOK_S)


def _table(fetches: list[Fetch]) -> Table:
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    latest = sorted(fetches, key=lambda fetch: fetch.last, reverse=True)[:MAX_ROWS]
    for fetch in sorted(latest, key=lambda fetch: (fetch.client, fetch.file)):
        table.add_row(
            Text(escaped(fetch.client)),
            Text(escaped(fetch.file)),
            ProgressBar(total=100, completed=fetch.percent, width=20),
            Text(f"{fetch.percent} %"),
        )
    return table
