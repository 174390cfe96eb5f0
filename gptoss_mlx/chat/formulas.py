"""Converts LaTeX formulas to Unicode if nothing is lost.

Packages that do this drop commands that they do not support, or misread the scope of a
script or a fraction: ``{a+b}^2`` is not ``a+b²``.
"""

from __future__ import annotations

import re

from gptoss_mlx.chat.formula_symbols import (
    ACCENTS,
    BLACKBOARD,
    FRACTIONS,
    FUNCTIONS,
    SPACES,
    SUBSCRIPTS,
    SUPERSCRIPTS,
    SYMBOLS,
)

__all__ = ["is_formula", "unicode_formula"]

# Longer formulas are easier to read in LaTeX.
MAX_CHARACTERS = 300
MAX_DEPTH = 8

_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|\s+|.", re.DOTALL)
_COMMAND = re.compile(r"\\(?:text|mathrm|operatorname)\{[^{}]*\}|\\[A-Za-z]+")
_WORDS = re.compile(r"[A-Za-z]{4,}|[A-Za-z]{2,}[,;:.]?\s+[A-Za-z]{2,}")
# Characters of a formula that sums of money and shell variables lack.
_MATHS = re.compile(r"[\\^_=+*<>()]|^[A-Za-z]{1,3}'*$")
_PLAIN = frozenset("+-=<>()[]|/.,;:!?'*%≤≥≠→←×·−±∞∈∑∫√π°′")
_ATOM = re.compile(r"\w[\u0300-\u036f\u20d7₀-₉⁰-⁹]*|\d+(\.\d+)?")
# Under a root a power needs brackets: √x² may be the root's power.
_UNDER_ROOT = re.compile(r"\w[\u0300-\u036f\u20d7₀-₉]*|\d+(\.\d+)?")
_SCRIPTS = "".join({*SUPERSCRIPTS.values(), *SUBSCRIPTS.values()})
_PRODUCT = re.compile(rf"[\w\u0300-\u036f\u20d7{re.escape(_SCRIPTS)}]+")
_NAMES = "|".join(sorted((name[1:] for name in FUNCTIONS), key=len, reverse=True))
# They apply to what follows, as far as a reader thinks.
_FUNCTION = re.compile(rf"(?<![A-Za-z])(?:{_NAMES})[{re.escape(_SCRIPTS)}]*\s*$")
_LARGE = re.compile(rf"[∑∏∐∫∬∭∮][{re.escape(_SCRIPTS)}]*\s*$")
_SIGNED = re.compile(r".*[·×÷/*√∛∜]\s*[-−±∓+]\s*$", re.DOTALL)

# Operators that bind less than a fraction or a root, and the end of the formula.
_LOOSE = ("", *"+-−±∓=<>≤≥≠≈≡∼≃≅∝→←⇒⇐⇔⟹⟸⟺↦⟶,;.?")
_OPENING, _CLOSING = "([{⟨⌊⌈", ")]}⟩⌋⌉"
_BEFORE_FRACTION = frozenset([*_LOOSE, *_OPENING])
_AFTER_FRACTION = frozenset([*_LOOSE, *_CLOSING])
_AFTER_ROOT = _AFTER_FRACTION | frozenset("·×÷/*")
_POSTFIXES = frozenset("^_!'′°%")


class _CannotConvertError(Exception):
    """A part has no Unicode form with the same meaning."""


def is_formula(source: str) -> bool:
    """Whether the text between two single dollar signs is a formula.

    Dollar signs also mark amounts of money and shell variables.
    """
    # A bar at the start, without another, separates the parts of a regular expression.
    lone = source.startswith("|") and source.count("|") == 1
    return bool(_MATHS.search(source)) and "\n\n" not in source and not lone


def unicode_formula(source: str) -> str | None:
    """Write a formula without LaTeX, or return None if that would lose anything.

    Args:
        source: The text between the delimiters.
    """
    if len(source) > MAX_CHARACTERS:
        return None
    # A word in a formula is written with \\text: this may not be a formula.
    if _WORDS.search(
        re.sub(r"\\(?:text|mathrm|operatorname)\{[^{}]*\}|\\[A-Za-z]+", "", source)
    ):
        return None
    try:
        return _Reader(source).all().strip() or None
    except _CannotConvertError:
        return None


class _Reader:
    """Reads a formula from left to right."""

    def __init__(self, source: str) -> None:
        self._tokens: list[str] = _TOKEN.findall(source)
        self._at = 0
        self._depth = 0

    def all(self) -> str:
        text = self._until(None)
        # A script without a base, or with a space as its base.
        return re.sub(r"\s+", " ", text)

    def _peek(self) -> str | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _take(self) -> str:
        token = self._peek()
        if token is None:
            raise _CannotConvertError
        self._at += 1
        return token

    def _skip_space(self) -> None:
        while (token := self._peek()) is not None and token.isspace():
            self._at += 1

    def _until(self, end: str | None) -> str:
        text = ""
        while (token := self._peek()) != end:
            self._at += 1
            if token is None:
                raise _CannotConvertError
            text = self._next(token, text)
        self._at += 1
        return text

    def _next(self, token: str, text: str) -> str:
        """Convert the part that begins with ``token``, and append it to ``text``."""
        if token.isspace():
            return f"{text} "
        if token == "{":  # noqa: S105
            return text + self._braces(text)
        if token in ("^", "_"):
            return text + self._script(token, text)
        if token in SPACES:
            return text + SPACES[token]
        if token in SYMBOLS:
            return text + self._symbol(SYMBOLS[token], text)
        if token in FUNCTIONS:
            return f"{text}{' ' if text[-1:].isalnum() else ''}{token[1:]}{self._gap()}"
        if token in ACCENTS:
            return text + self._argument(exactly=1) + ACCENTS[token]
        if token == r"\mathbb":  # noqa: S105
            return text + _mapped(self._argument(exactly=1), BLACKBOARD)
        if token in (r"\text", r"\mathrm", r"\operatorname"):
            return text + self._words(token, text)
        if token == r"\sqrt":  # noqa: S105
            return text + self._root()
        if token in (r"\frac", r"\tfrac", r"\dfrac"):
            return text + self._fraction(text)
        if token in (r"\left", r"\right"):
            return text + self._delimiter()
        if len(token) == 1 and (token.isalnum() or token in _PLAIN):
            return text + token
        raise _CannotConvertError

    def _group(self) -> str:
        """Read up to the closing brace."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _CannotConvertError
        group = self._until("}")
        self._depth -= 1
        return group

    def _braces(self, text: str) -> str:
        """Read a group that is no argument: its braces may have been meant as brackets."""
        group, after = self._group(), self._after()
        scripted = self._peek() in ("^", "_")
        if _FUNCTION.search(text) and group.strip() and not scripted:
            return f"({group.strip()})"
        if scripted and (len(group) > 1 or _FUNCTION.search(text)):
            raise _CannotConvertError
        if len(group) < 2 and not group.isalnum():
            return group
        before = text.rstrip()[-1:]
        if not _PRODUCT.fullmatch(group):
            if before or after:
                raise _CannotConvertError
            return group
        joined = (before.isdigit() and group[0].isdigit()) or (
            group[-1].isdigit() and after.isdigit()
        )
        bound = before and before in "√∛∜/÷"
        if joined or (bound and (after not in _AFTER_ROOT or not _ATOM.fullmatch(group))):
            raise _CannotConvertError
        return group

    def _after(self) -> str:
        """What is shown next, without space: ``x`` for any factor, nothing at an end."""
        rest = [t for t in self._tokens[self._at :] if not t.isspace() and t not in SPACES]
        if rest[:1] in ([r"\left"], [r"\right"]):
            del rest[0]
        if not rest or rest[0] == "}":
            return ""
        if rest[0] in (".", ",") and rest[1:2] and rest[1].isdigit():
            return rest[1]  # a decimal mark
        token = SYMBOLS.get(rest[0], rest[0])
        return "x" if token[0] == "\\" or rest[0] == "{" else token

    def _argument(self, *, exactly: int | None = None) -> str:
        self._skip_space()
        token = self._take()
        if token in FUNCTIONS:
            raise _CannotConvertError
        text = self._group().strip() if token == "{" else self._next(token, "")  # noqa: S105
        if not text or (exactly is not None and len(text) != exactly):
            raise _CannotConvertError
        return text

    def _symbol(self, symbol: str, text: str) -> str:
        # TeX reads the space after a name as its end.
        if text and not text.endswith(" "):
            self._skip_space()
        return symbol

    def _gap(self) -> str:
        """A space between a function's name and its argument, unless a bracket is there."""
        token = self._peek()
        return " " if token is not None and (token.isalnum() or token[0] == "\\") else ""

    def _script(self, token: str, text: str) -> str:
        if not text.strip() or text.strip() == "|" or text[-1] in " ([{=<>,;:/":
            raise _CannotConvertError
        argument = self._argument().replace(" ", "")
        scripts = text[len(text.rstrip(_SCRIPTS)) :]
        table = SUPERSCRIPTS if token == "^" else SUBSCRIPTS  # noqa: S105
        if any(script in scripts for script in table.values()):
            raise _CannotConvertError
        return _mapped(argument, table)

    def _words(self, command: str, text: str) -> str:
        """Read text in which LaTeX commands are literal."""
        if self._take() != "{":
            raise _CannotConvertError
        words = ""
        while (token := self._take()) != "}":
            if token[0] in "\\{$":
                raise _CannotConvertError
            words += token
        if self._peek() in ("^", "_"):
            raise _CannotConvertError
        # Words and variables beside each other would be one word.
        name = command == r"\operatorname"
        if (len(words) > 1 or name) and words[:1].isalnum() and text[-1:].isalpha():
            words = f" {words}"
        following = self._peek() or " "
        joins = following.isalnum() or (following[0] in "\\{" and self._after().isalnum())
        if (len(words) > 1 or name) and words[-1:].isalnum() and joins:
            words += "" if following in SPACES else " "
        return words

    def _root(self) -> str:
        sign = "√"
        if self._peek() == "[":
            self._at += 1
            sign = {"3": "∛", "4": "∜"}.get(self._take(), "")
            if not sign or self._take() != "]":
                raise _CannotConvertError
        argument, after = self._argument(), self._after()
        if after in _POSTFIXES:
            return f"({sign}{_in_brackets(argument, _UNDER_ROOT)})"
        if after not in _AFTER_ROOT and _UNDER_ROOT.fullmatch(argument):
            return f"{sign}({argument})"
        return f"{sign}{_in_brackets(argument, _UNDER_ROOT)}"

    def _fraction(self, text: str) -> str:
        above, below = self._argument(), self._argument()
        before, after = text.rstrip()[-1:], self._after()
        one = FRACTIONS.get(f"{above}/{below}")
        if one is not None:
            # Beside a number it could be read as a mixed number.
            if before.isnumeric() and not _applies(text):
                raise _CannotConvertError
            return f"({one})" if after in _POSTFIXES or after.isnumeric() else one
        applies = _applies(text)
        # Beside a factor, brackets could be read as those of a function.
        if before.isalnum() and not applies:
            raise _CannotConvertError
        fraction = f"{_in_brackets(above)}/{_in_brackets(below)}"
        alone = before in _BEFORE_FRACTION and after in _AFTER_FRACTION
        bars = text.strip() == "|" and after == "|"
        return fraction if (alone or bars) and not applies else f"({fraction})"

    def _delimiter(self) -> str:
        token = self._take()
        if token not in ("(", ")", "[", "]", "|", r"\{", r"\}", "/"):
            raise _CannotConvertError
        if self._peek() in ("^", "_") and token == "|":  # noqa: S105
            raise _CannotConvertError
        return token[-1]


def _mapped(text: str, table: dict[str, str]) -> str:
    if not text or any(character not in table for character in text):
        raise _CannotConvertError
    return "".join(table[character] for character in text)


def _applies(text: str) -> bool:
    """Whether the end of ``text`` applies to a fraction that follows."""
    if _SIGNED.fullmatch(text):
        return True
    unsigned = text.rstrip().rstrip("-−±∓+")
    return bool(_FUNCTION.search(unsigned) or _LARGE.search(unsigned))


def _in_brackets(text: str, atom: re.Pattern[str] = _ATOM) -> str:
    return text if atom.fullmatch(text) else f"({text})"
