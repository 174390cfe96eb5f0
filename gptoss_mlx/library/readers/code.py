"""Reads source code: its own lines, with classes and functions as headings."""

from __future__ import annotations

import re

from gptoss_mlx.library.readers.plain import read_lines
from gptoss_mlx.library.readers.source import Source
from gptoss_mlx.library.text import Heading, Text

__all__ = ["CODE_SUFFIXES", "read_code"]

_BRACES = (
    r"(?:(?:export|declare|default|public|private|protected|internal|fileprivate|static"
    r"|final|abstract|open|sealed|partial|virtual|override|readonly|data|inline|suspend"
    r"|async|pub(?:\([a-z]+\))?|unsafe|extern|const) +)*"
)
_PYTHON = re.compile(r"( *)((?:async +def|def|class) +\w+)")
_SCRIPT = re.compile(
    rf"(\s*)({_BRACES}(?:function\*? *|class +|interface +|enum +|namespace +)[\w$]+)"
)
_GO = re.compile(r"()((?:func +(?:\([^)]*\) *)?|type +)\w+)")
_RUST = re.compile(rf"(\s*)({_BRACES}(?:fn|struct|enum|trait|impl|mod)\b[^{{(;]*)")
_RUBY = re.compile(r"(\s*)((?:def|class|module) +[\w.:?!]+)")
_CLASSES = re.compile(
    rf"(\s*)({_BRACES}(?:class|interface|enum|struct|record|object|protocol|extension"
    r"|func|fun|namespace) +\w+)"
)

CODE_SUFFIXES: dict[str, re.Pattern[str]] = {
    ".py": _PYTHON,
    ".pyi": _PYTHON,
    ".go": _GO,
    ".rs": _RUST,
    ".rb": _RUBY,
    **dict.fromkeys((".js", ".jsx", ".mjs", ".ts", ".tsx"), _SCRIPT),
    **dict.fromkeys((".java", ".kt", ".swift", ".cs", ".scala", ".php"), _CLASSES),
}
"""The pattern of a definition, by the suffix of a file."""

# Definitions are short; a longer line is generated.
_MAX_CHARACTERS = 200


def read_code(source: Source) -> Text:
    """Read source code of a known language.

    Raises:
        UnreadableDocumentError: It is binary.
    """
    pattern = CODE_SUFFIXES[source.path.suffix.lower()]
    lines = read_lines(source)
    headings = []
    outer: list[int] = []
    for index, line in enumerate(lines):
        found = pattern.match(line) if len(line) <= _MAX_CHARACTERS else None
        if found is not None:
            indent = len(found[1].expandtabs())
            while outer and outer[-1] >= indent:
                outer.pop()
            outer.append(indent)
            headings.append(Heading(index, min(len(outer), 6), found[2].strip()))
    return Text(source.path.name, lines, tuple(headings))
