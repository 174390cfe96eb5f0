"""Search texts for regular expressions of others, in bounded time.

What is plainly quick is searched here. Anything else is searched by another process, which
the operating system ends: no thread can be ended while ``re`` is at work.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from contextlib import suppress
from types import TracebackType

__all__ = ["MAX_CPU_S", "PatternError", "Patterns"]

MAX_CPU_S = 1
"""Seconds of processor time for all searches of one ``Patterns``."""

# More than this many ways to match, as counted from above, may take over a millisecond.
_MAX_WAYS = 100_000
_MAX_QUICK_CHARACTERS = 300

# A group that is repeated may hold another repetition. Flags change what the rest means.
_NESTED = re.compile(r"\)[*+{]|\(\?[aiLmsux-]")
_EXACT_COUNT = re.compile(r"\{\d{1,4}\}")

_SEARCH = f"""\
import json, re, resource, sys
resource.setrlimit(resource.RLIMIT_CPU, ({MAX_CPU_S}, {MAX_CPU_S}))
for line in sys.stdin:
    pattern, text = json.loads(line)
    try:
        print(int(re.search(pattern, text) is not None), flush=True)
    except Exception as error:
        print(f"{{type(error).__name__}}: {{error}}".splitlines()[0], flush=True)
"""


class PatternError(ValueError):
    """A pattern is no regular expression, or takes too long."""


class Patterns:
    """Searches, in a context: another process is started where one is needed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Patterns:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            # Its pipes are closed, which may write what it never read.
            with suppress(BrokenPipeError):
                process.communicate()

    def search(self, pattern: str, text: str) -> bool:
        """Tell whether ``pattern`` matches somewhere in ``text``.

        Raises:
            PatternError: It is no regular expression, or the searches take too long.
        """
        if not _is_quick(pattern, text):
            return self._search_elsewhere(pattern, text)
        try:
            return re.search(pattern, text) is not None
        except (re.error, OverflowError, RecursionError) as error:
            raise _not_one(pattern, str(error)) from error

    def _search_elsewhere(self, pattern: str, text: str) -> bool:
        if self._process is None:
            self._process = subprocess.Popen(  # noqa: S603 - our own text
                [sys.executable, "-I", "-S", "-c", _SEARCH],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                encoding="ascii",
                errors="backslashreplace",
            )
        assert self._process.stdin is not None  # noqa: S101 - for the type checker
        assert self._process.stdout is not None  # noqa: S101
        try:
            print(json.dumps([pattern, text]), file=self._process.stdin, flush=True)
            said = self._process.stdout.readline().rstrip("\n")
        except BrokenPipeError:
            said = ""
        if said in ("0", "1"):
            return said == "1"
        if said:
            raise _not_one(pattern, said)
        raise PatternError(
            f"The pattern {_short(pattern)} takes over {MAX_CPU_S} s for a text of "
            f"{len(text):,} characters"
        )


def _is_quick(pattern: str, text: str) -> bool:
    """Count the ways to match from above: each repetition may end at each character."""
    if len(pattern) > _MAX_QUICK_CHARACTERS or _NESTED.search(pattern):
        return False
    rest = _EXACT_COUNT.sub("", pattern)
    repetitions = sum(map(rest.count, "*+{"))
    choices = sum(map(rest.count, "?|"))
    ways: int = (len(text) + 1) ** (repetitions + 1) << choices
    return ways <= _MAX_WAYS


def _not_one(pattern: str, reason: str) -> PatternError:
    return PatternError(f"{_short(pattern)} is not a regular expression: {reason}")


def _short(pattern: str) -> str:
    return repr(pattern if len(pattern) <= 80 else f"{pattern[:77]}...")
