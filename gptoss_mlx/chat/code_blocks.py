"""Code in an answer: coloured, and otherwise unchanged, so that it can be copied."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound
from rich.segment import Segment
from rich.style import Style
from rich.syntax import ANSI_DARK, ANSISyntaxTheme

__all__ = ["code_lines", "is_language"]

# Languages with colours. A lexer is hundreds of regular expressions, some of which take
# minutes for a line of spaces: these were measured, up to this many characters.
_NAMES = """
    asm awk bash c c++ clojure cmake console cpp cs csharp css dart diff docker
    dockerfile elixir fortran go graphql haskell html ini java javascript jl js json jsx
    julia kotlin latex lua makefile matlab nginx objective-c perl php powershell
    protobuf py py3 pycon python python3 r rb rs ruby rust scala scss sh shell sql swift
    tex toml ts tsx typescript vim xml yaml yml zig zsh
"""
LANGUAGES = frozenset(_NAMES.split())
MAX_COLOURED = 8_000
MAX_SECONDS = 0.2
# Some expressions take time quadratic in a run's length.
_LONG_RUN = re.compile(r"(\s)\s{200}|(.)\2{200}", re.DOTALL)

_THEME = ANSISyntaxTheme(ANSI_DARK)


def is_language(info: str) -> bool:
    """Whether the text after a fence is the name of a language."""
    if info in LANGUAGES:
        return True
    try:
        get_lexer_by_name(info)
    except ClassNotFound:
        return False
    return True


def code_lines(code: str, language: str) -> list[list[Segment]]:
    """Split code into lines, coloured if the language is known.

    Lines are not wrapped: if the terminal wraps one, it is still copied as one line.
    """
    lines: list[list[Segment]] = [[]]
    for text, style in _pieces(code.rstrip("\n"), language.lower()):
        for index, part in enumerate(text.split("\n")):
            if index:
                lines.append([])
            if part:
                lines[-1].append(Segment(part, style))
    return lines


def _pieces(code: str, language: str) -> Iterator[tuple[str, Style | None]]:
    begin = code[:MAX_COLOURED]
    if language not in LANGUAGES or _LONG_RUN.search(begin):
        yield code, None
        return
    try:
        lexer = get_lexer_by_name(language, stripnl=False, ensurenl=False)
    except ClassNotFound:  # an older Pygments
        yield code, None
        return
    done = 0
    deadline = time.monotonic() + MAX_SECONDS
    for token, text in lexer.get_tokens(begin):
        # A lexer may drop or change characters, for example a byte order mark.
        if not code.startswith(text, done) or time.monotonic() > deadline:
            break
        yield text, _THEME.get_style_for_token(token)
        done += len(text)
    yield code[done:], None
