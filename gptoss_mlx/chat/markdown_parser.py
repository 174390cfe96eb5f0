r"""Parses Markdown as models write it, without losing any text.

CommonMark with tables and strikethrough, with these differences:

- formulas are ``\( \)``, ``\[ \]``, ``$ $``, ``$$ $$`` and ``\begin{} \end{}``, and
  contain no Markdown;
- bare addresses and Windows paths contain no Markdown and no formula;
- a backslash stays unless it escapes a mark;
- HTML, entities, images and link definitions are text;
- lists and quotes that are nested too deeply are text too.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock, blockquote, list_block, table
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from markdown_it.tree import SyntaxTreeNode

from gptoss_mlx.chat.addresses import bare_address
from gptoss_mlx.chat.formulas import is_formula

__all__ = ["parse_blocks", "parse_inline", "whole_blocks"]

# Nested containers; a list and its item count as two.
MAX_LEVEL = 24
# The most characters of a formula, or of a link's text or address: limits for searches.
MAX_FORMULA = 2_000
# Longer paragraphs are plain text and are not parsed.
MAX_INLINE = 20_000
# Longer blocks are cut, at a line end if there is one.
MAX_BLOCK = 100_000

# The start of a formula, and its end.
_DELIMITERS = {r"\(": r"\)", r"\[": r"\]", "$$": "$$"}
_OPENS_A_BLOCK = re.compile(r"\\\[|\$\$|\\begin\{")
_ENVIRONMENT = re.compile(r"\\begin(\{[A-Za-z]{1,20}\*?\})")

_LINK = re.compile(
    r"""\[
    (?P<text>(?:\\.|`[^`\n]{1,200}`|\[[^\[\]]{0,200}\]|[^\[\]\\`]){1,500})
    \]\(
    (?P<target>\ *
      (?P<address>[^\s()<>]{1,2000}(?:\([^\s()<>]{0,200}\)[^\s()<>]{0,200}){0,5}|<[^<>\n]{1,2000}>)
      (?:\s+(?:"[^"\n]{0,500}"|'[^'\n]{0,500}'))?
    \ *)\)""",
    re.VERBOSE | re.DOTALL,
)
# Before a dollar sign: a price, or the end of a regular expression.
_NO_OPENING = re.compile(r"[A-Za-z0-9^+?\]}]")
_BAR = re.compile(r"(?<!\\)\|")
_CELL_PART = re.compile(
    r"`[^`]{1,500}`|\\\(.{1,500}?\\\)|\$[^ $][^$]{0,200}\$|\\.|[^|\\`$]+|."
)
_BLOCK_MARK = re.compile(r"[#>+=-]")


def parse_blocks(text: str) -> list[SyntaxTreeNode]:
    """Parse a text into its top-level blocks, without parsing their inline content."""
    return SyntaxTreeNode(_block_tokens(text)).children


def parse_inline(text: str) -> list[Token]:
    """Parse the inline content of a paragraph, a heading or a cell.

    Formulas are tokens of type ``formula``: ``content`` without the delimiters,
    ``markup`` is the opening delimiter, ``info`` the whole source.
    """
    if len(text) > MAX_INLINE:
        return [Token("text", "", 0, content=text)]
    tokens: list[Token] = []
    _PARSER.inline.parse(text, _PARSER, {}, tokens)
    return tokens


def whole_blocks(text: str) -> int:
    """Count the characters of ``text`` that belong to complete blocks.

    A top-level block ends where the next one begins. The last line does not count until
    it has ended: ``***`` may become a rule or the start of bold text.
    """
    lines = text[: text.rfind("\n", 0, MAX_BLOCK) + 1]
    starts = [
        token.map[0]
        for token in _block_tokens(lines)
        if token.level == 0 and token.nesting >= 0 and token.map is not None
    ]
    if len(starts) < 2:
        return len(lines) or MAX_BLOCK if len(text) >= MAX_BLOCK else 0
    end = 0
    for _ in range(starts[-1]):
        end = lines.index("\n", end) + 1
    return end


def _block_tokens(text: str) -> list[Token]:
    tokens: list[Token] = []
    _PARSER.block.parse(text, _PARSER, {}, tokens)
    return tokens


def _nested(
    rule: Callable[[StateBlock, int, int, bool], bool],
) -> Callable[[StateBlock, int, int, bool], bool]:
    """Limit how many containers a container may be nested in."""

    def bounded(state: StateBlock, line: int, end: int, silent: bool) -> bool:
        return state.level < MAX_LEVEL and rule(state, line, end, silent)

    return bounded


def _table(state: StateBlock, line: int, end: int, silent: bool) -> bool:
    """Parse a table; a row keeps all its cells, even those without a column."""
    first = len(state.tokens)
    if not table(state, line, end, silent):
        return False
    source, cells, body = "", list[Token](), False
    for token in state.tokens[first:]:
        if token.type == "tr_open" and token.map is not None:
            source = state.getLines(token.map[0], token.map[0] + 1, 0, False).strip()
            cells = []
        elif token.type == "inline":
            cells.append(token)
        elif token.type == "tbody_open":
            body = True
        elif token.type == "tr_close" and body:
            _share_out(source, cells)
    return True


def _share_out(row: str, cells: list[Token]) -> None:
    """Put all of a row into its cells, if a bar has split it into too many."""
    row = re.sub(r"^\||(?<!\\)\|$", "", row)
    if len(_BAR.split(row)) <= len(cells):
        return
    # An unescaped bar in code or in a formula.
    parts = [part.strip().replace(r"\|", "|") for part in _cells(row)]
    kept = len(cells) - 1
    parts[kept:] = [" | ".join(parts[kept:])]
    for cell, part in zip(cells, parts, strict=False):
        cell.content = part
    for cell in cells[len(parts) :]:
        cell.content = ""


def _cells(row: str) -> list[str]:
    cells = [""]
    for part in _CELL_PART.findall(row):
        if part == "|":
            cells.append("")
        else:
            cells[-1] += part
    return cells


def _formula_block(state: StateBlock, line: int, end: int, silent: bool) -> bool:
    """Keep the lines of a formula together, and parse no other blocks in them.

    It begins at a line with an opening delimiter and ends at the line with the closing one,
    or at an empty line if there is none yet.
    """
    if state.is_code_block(line):
        return False
    begins = state.bMarks[line] + state.tShift[line]
    first = state.src[begins : state.eMarks[line]]
    opened = _opened(first)
    if opened is None:
        return False
    if silent:
        return True
    closing, at = opened
    last = line
    rest = first[at:]
    while closing not in rest:
        following = last + 1
        if (
            following >= end
            or state.isEmpty(following)
            or state.sCount[following] < state.blkIndent
        ):
            break
        last = following
        rest = state.src[state.bMarks[last] : state.eMarks[last]]
    state.line = last + 1
    token = state.push("paragraph_open", "p", 1)
    token.map = [line, state.line]
    token = state.push("inline", "", 0)
    token.content = state.getLines(line, state.line, state.blkIndent, False).strip()
    token.map = [line, state.line]
    token.children = []
    state.push("paragraph_close", "p", -1)
    return True


def _opened(line: str) -> tuple[str, int] | None:
    """Return the closing delimiter of a line's formula, and where to search for it."""
    found = _OPENS_A_BLOCK.match(line)
    if found is not None:
        closing = {r"\[": r"\]", "$$": "$$"}.get(found[0], r"\end{")
        return closing, found.end()
    line = line.rstrip()
    if line.endswith(r"\[") or (line.endswith("$$") and line.count("$$") % 2):
        return _DELIMITERS[line[-2:]], len(line)
    return None


def _formula(state: StateInline, silent: bool) -> bool:
    start, source = state.pos, state.src
    environment = _ENVIRONMENT.match(source, start, state.posMax)
    if environment is not None:
        opening, closing = environment[0], rf"\end{environment[1]}"
    else:
        opening = source[start : start + 2]
        if opening in _DELIMITERS:
            closing = _DELIMITERS[opening]
        elif source[start] == "$":
            return _dollars(state)
        else:
            return False
    begin = start + len(opening)
    end = source.find(closing, begin, min(state.posMax, begin + MAX_FORMULA))
    if end < 0 or not source[begin:end].strip():
        return False
    _push_formula(state, opening, begin, end, end + len(closing))
    return True


def _dollars(state: StateInline) -> bool:
    """Parse a formula between single dollar signs, with no space inside them."""
    source, begin = state.src, state.pos + 1
    limit = min(state.posMax, begin + MAX_FORMULA)
    if begin >= limit or source[begin].isspace():
        return False
    if _NO_OPENING.match(source, max(begin - 2, 0), begin - 1):
        return False
    end = begin
    while (end := source.find("$", end, limit)) >= 0 and source[end - 1] == "\\":
        end += 1
    if end < 0 or source[end - 1].isspace() or source[end + 1 : end + 2].isalnum():
        return False
    content = source[begin:end]
    if re.fullmatch(r"`[^`]+`", content):  # without its marks it would be a formula
        state.push("text", "", 0).content = source[state.pos : end + 1]
        state.pos = end + 1
        return True
    if "`" in content or not is_formula(content):
        return False
    _push_formula(state, "$", begin, end, end + 1)
    return True


def _push_formula(
    state: StateInline, opening: str, begin: int, end: int, after: int
) -> None:
    token = state.push("formula", "", 0)
    token.markup = opening
    token.content = state.src[begin:end]
    token.info = state.src[state.pos : after]
    state.pos = after


def _backslash(state: StateInline, silent: bool) -> bool:
    """Remove a backslash that escapes a mark."""
    position, source = state.pos, state.src
    if source[position] != "\\":
        return False
    following = source[position + 1 : min(position + 2, state.posMax)]
    before = source[source.rfind("\n", 0, position) + 1 : position].strip()
    if following == "\n":
        state.push("hardbreak", "br", 0)
        state.pos = position + 2
    elif (
        (following and following in "*_`~$|")
        or (not before and _BLOCK_MARK.match(following))
        or (before.isdecimal() and following in (".", ")"))
    ):
        state.push("text", "", 0).content = following
        state.pos = position + 2
    else:
        state.push("text", "", 0).content = "\\\\" if following == "\\" else "\\"
        state.pos = position + (2 if following == "\\" else 1)
    return True


def _times(state: StateInline, silent: bool) -> bool:
    """Read the asterisk of ``2*3`` as a times sign."""
    around = state.src[max(state.pos - 1, 0) : min(state.pos + 2, state.posMax)]
    if not re.fullmatch(r"[A-Za-z0-9]\*[A-Za-z0-9]", around):
        return False
    state.push("text", "", 0).content = "*"
    state.pos += 1
    return True


def _link(state: StateInline, silent: bool) -> bool:
    """Parse a link; its closing token has the address and title as written."""
    found = _LINK.match(state.src, state.pos, state.posMax)
    if found is None or state.linkLevel or not found["text"].strip():
        return False
    maximum = state.posMax
    state.pos, state.posMax = found.span("text")
    state.push("link_open", "a", 1)
    state.linkLevel += 1
    state.md.inline.tokenize(state)
    state.linkLevel -= 1
    state.push("link_close", "a", -1).content = found["target"].strip()
    state.pos, state.posMax = found.end(), maximum
    return True


def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"maxNesting": 10 * MAX_LEVEL})
    parser.enable(["strikethrough", "table"])
    parser.disable(["html_block", "html_inline", "reference", "image", "entity"])
    block, inline = parser.block.ruler, parser.inline.ruler
    paragraphs = ["paragraph", "reference"]
    containers = [*paragraphs, "blockquote", "list"]
    block.at("table", _table, {"alt": paragraphs})
    block.at(
        "blockquote", _nested(blockquote), {"alt": [*paragraphs, "blockquote", "list"]}
    )
    block.at("list", _nested(list_block), {"alt": [*paragraphs, "blockquote"]})
    block.before("fence", "formula_block", _formula_block, {"alt": containers})
    inline.at("escape", _backslash)
    inline.at("link", _link)
    inline.before("escape", "formula", _formula)
    inline.before("formula", "address", bare_address)
    inline.before("emphasis", "times", _times)
    return parser


_PARSER = _parser()
