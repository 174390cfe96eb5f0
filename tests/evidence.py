"""What the tests have measured, told in a few lines at their end.

A test notes a number by the fixture ``note``, under one of these names.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from interval import interval

__all__ = ["EVIDENCE", "NETWORK", "Note", "evidence_lines", "watch_network"]

Note = Callable[[str, float], None]
"""Notes a number under a name of EVIDENCE."""


class Line(NamedTuple):
    """How the numbers that tests note under one name are told together."""

    together: Callable[[Iterable[float]], float | Share]
    text: str


class Share(NamedTuple):
    """How many of some questions were answered rightly, with a 95 % interval."""

    right: int
    total: int
    low: float
    high: float


def share(results: Iterable[float]) -> Share:
    """Count results: 1 is right, and 0 is wrong."""
    noted = list(results)
    right, total = round(sum(noted)), len(noted)
    return Share(right, total, *interval(right, total))


EVIDENCE = {
    "parity_48": Line(max, "logits of 48 tokens: {:.1e} from OpenAI's, at most 1e-04"),
    "parity_1500": Line(max, "logits of 1,500 tokens: {:.1e} from OpenAI's, at most 5e-04"),
    "conversations": Line(
        sum, "{:,} conversations rendered as openai-harmony does, and read back"
    ),
    "schemas": Line(sum, "{:,} tool schemas rendered as openai-harmony does"),
    "streams": Line(sum, "{:,} random token streams read without an exception"),
    "turns": Line(sum, "{:,} turns of strange harmony answered, rendered and read back"),
    "markdown": Line(sum, "{:,} Markdown texts seen whole, in any pieces"),
    "mutations": Line(sum, "{:,} damaged files read rightly or refused by name"),
    "hub_answers": Line(sum, "{:,} answers of a Hub: the right file or a named error"),
    "citations": Line(sum, "{:.0f} citations, half of them false: each told rightly"),
    "talks": Line(sum, "{:.0f} recorded-style conversations over files: the right lines"),
    "frames": Line(sum, "{:,} pages of any name shown in the browser's frame"),
    "killed_conversions": Line(
        sum, "{:.0f} conversions killed (kill -9), run again: byte-identical, nothing left"
    ),
    "killed_pulls": Line(
        sum, "{:.0f} pulls killed (kill -9), run again: byte-identical, nothing left"
    ),
    "killed_consumptions": Line(
        sum, "{:.0f} conversions that remove their source killed: nothing lost"
    ),
    "killed_arrivals": Line(
        sum, "{:.0f} conversions of arriving files killed, run again: byte-identical"
    ),
    "arriving_disk": Line(
        max, "converting arriving files: {:.0%} of the bytes of the result and two files"
    ),
    "killed_demos": Line(
        sum, "{:.0f} unpackings of the demo killed (kill -9), run again: nothing left"
    ),
    "killed_updates": Line(
        sum, "{:.0f} updates of a library killed (kill -9), run again: as a new index"
    ),
    "layer": Line(max, "layer of the real shape: {:.1e} from NumPy's, at most 1e-04"),
    "layer_bf16": Line(max, "the same in bf16: {:.1e}, at most 2e-02"),
    "finite_check": Line(
        max, "the check for finite logits: {:.4f} % of a step of 20b, at most 0.5 %"
    ),
    "ended": Line(max, "a download of 1 GB, stopped 20 times: ended in {:.2f} s at most"),
    "written_twice": Line(max, "the same: {:.2f} % of the bytes written twice"),
    "demo_logits": Line(max, "demo model: logits {:.1e} from OpenAI's, at most 1e-03"),
    "demo_known": Line(
        share, "demo model: {0} of {1} held-out questions right ({2:.0%} to {3:.0%})"
    ),
    "demo_unknown": Line(
        share, "demo model: {0} of {1} out of scope left open ({2:.0%} to {3:.0%})"
    ),
}

NETWORK: list[str] = []
"""Attempts to reach anything but this machine, in the tests' own process."""


def evidence_lines(noted: dict[str, list[float]]) -> list[str]:
    """Tell what was noted, in the order of EVIDENCE."""
    lines = []
    for name, line in EVIDENCE.items():
        if name in noted:
            value = line.together(noted[name])
            lines.append(line.text.format(*value if isinstance(value, Share) else (value,)))
    return [*lines, f"network calls made: {len(NETWORK)}", *NETWORK]


def watch_network() -> None:
    """Note from now on what this process tries to reach."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.connect":
            address = arguments[1]
            # A path is a socket of this machine.
            host = address[0] if isinstance(address, tuple) else "localhost"
        elif event == "socket.getaddrinfo":
            host = arguments[0]
        else:
            return
        if str(host) not in ("localhost", "127.0.0.1", "::1", "None"):
            NETWORK.append(f"{event} {host}")

    sys.addaudithook(hook)
