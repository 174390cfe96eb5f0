"""Markdown for hypothesis, with what must be seen of it."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import strategies as st

from gptoss_mlx.chat.formulas import unicode_formula

__all__ = ["Written", "documents", "soups"]


class Written(NamedTuple):
    """Markdown, and what a reader must find.

    Attributes:
        markup: What the model writes.
        seen: For each block, and each cell of a table, its characters without white space.
        code: Lines that must stand in the output as they are.
    """

    markup: str
    seen: list[str]
    code: list[str]


_WORDS = r"""
word Haus 日本語 🎉 👩‍👩‍👧 שלום مرحبا naïve x1 C:\new \{a,b\} 2\\3 snake_case_name $5
2*3*4 <br> <div> &amp; &#x202E; [note] [^1] f(x) a/b 50% 'q' end.
https://a.example/b?c=d#e \alpha \frac{1}{2} {x} #1 ~/x @me 1.5 …
"""
WORDS = st.sampled_from(_WORDS.split())
FORMULAS = st.sampled_from(
    (
        *("x_1", r"x^2 \le \beta", r"\frac{a+b}{c}", r"\{a,b\}", r"2 \\ 3", "a*b*c"),
        *(r"\unknown{x}", r"\sum_{i=1}^n i", "x_{1,2}", r"e^{i\pi}", r"\sqrt{2}", "a < b"),
    )
)
DELIMITERS = st.sampled_from(((r"\(", r"\)"), (r"\[", r"\]"), ("$", "$"), ("$$", "$$")))


def _joined(parts: list[tuple[str, str]], between: str = " ") -> tuple[str, str]:
    return between.join(p for p, _ in parts), " ".join(s for _, s in parts)


@st.composite
def _formula(draw: st.DrawFn) -> tuple[str, str]:
    source, (opening, closing) = draw(FORMULAS), draw(DELIMITERS)
    whole = f"{opening}{source}{closing}"
    return whole, unicode_formula(source) or whole


def _marked(mark: str) -> st.SearchStrategy[tuple[str, str]]:
    return WORDS.filter(str.isalnum).map(lambda word: (f"{mark}{word}{mark}", word))


PLAIN = WORDS.map(lambda word: (word, word))
INLINE = st.one_of(
    PLAIN,
    PLAIN,
    _formula(),
    *map(_marked, ("*", "**", "***", "`", "~~", "_")),
    WORDS.filter(str.isalnum).map(
        lambda w: (f"[{w}](http://u/{w})", f"{w} (http://u/{w})")
    ),
    WORDS.filter(str.isalnum).map(lambda w: (f"![{w}](u.png)", f"!{w} (u.png)")),
)
LINE = st.lists(INLINE, min_size=1, max_size=6).map(_joined)
CELL = st.lists(INLINE, max_size=3).map(_joined)
# What begins a line must be no other block.
TEXT = LINE.map(lambda line: (f"So {line[0]}", f"So {line[1]}"))
CODE_LINE = st.sampled_from(
    (
        "def f(x):",
        "\treturn x",
        "",
        "    # a *comment*",
        "x" * 200,
        "日本 = '$a$'",
        "a | b \\\\",
    )
)


@st.composite
def _paragraph(draw: st.DrawFn) -> Written:
    markup, seen = _joined(draw(st.lists(TEXT, min_size=1, max_size=4)), "\n")
    return Written(markup, [seen], [])


@st.composite
def _heading(draw: st.DrawFn) -> Written:
    markup, seen = draw(TEXT)
    return Written(f"{'#' * draw(st.integers(1, 6))} {markup}", [seen], [])


@st.composite
def _code(draw: st.DrawFn) -> Written:
    lines = draw(st.lists(CODE_LINE, min_size=1, max_size=6))
    fence, language = (
        draw(st.sampled_from(("```", "~~~"))),
        draw(st.sampled_from(("", "python", "c"))),
    )
    code = [line for line in lines if line.strip()]
    markup = "\n".join((f"{fence}{language}", *lines, fence))
    return Written(markup, ["".join(code)], code)


@st.composite
def _table(draw: st.DrawFn) -> Written:
    columns = draw(st.integers(1, 4))
    row = st.lists(CELL, min_size=columns, max_size=columns)
    rows = [
        [("h" + str(i), "h" + str(i)) for i in range(columns)],
        *draw(st.lists(row, max_size=3)),
    ]
    lines = ["| " + " | ".join(cell for cell, _ in cells) + " |" for cells in rows]
    lines.insert(1, "|" + "---|" * columns)
    return Written("\n".join(lines), [seen for cells in rows for _, seen in cells], [])


def _containers(inner: st.SearchStrategy[Written]) -> st.SearchStrategy[Written]:
    return st.one_of(_listed(inner), _quoted(inner))


@st.composite
def _listed(draw: st.DrawFn, inner: st.SearchStrategy[Written]) -> Written:
    items = draw(st.lists(inner, min_size=1, max_size=3))
    start = draw(st.sampled_from((None, 1, 3, 98)))
    markup, seen, code = [], [], []
    for number, item in enumerate(items):
        mark = "-" if start is None else f"{start + number}."
        indent = " " * (len(mark) + 1)
        lines = item.markup.split("\n")
        markup += [
            f"{mark} {lines[0]}",
            *(f"{indent}{line}" if line else "" for line in lines[1:]),
        ]
        seen += [*([mark] if start is not None else []), *item.seen]
        code += item.code
    return Written("\n".join(markup), seen, code)


@st.composite
def _quoted(draw: st.DrawFn, inner: st.SearchStrategy[Written]) -> Written:
    item = draw(inner)
    return item._replace(markup="\n".join(f"> {line}" for line in item.markup.split("\n")))


_LEAVES = st.one_of(_paragraph(), _paragraph(), _heading(), _code(), _table())
_BLOCKS = st.recursive(_LEAVES, _containers, max_leaves=4)


@st.composite
def documents(draw: st.DrawFn) -> Written:
    """Blocks, parted by something that ends each of them."""
    blocks = draw(st.lists(_BLOCKS, min_size=1, max_size=5))
    return Written(
        "\n\n---\n\n".join(block.markup for block in blocks),
        [seen for block in blocks for seen in block.seen],
        [line for block in blocks for line in block.code],
    )


MARKS = (
    *("\n", "\n\n", "# ", "- ", "1. ", "> ", "    ", "\t", "  \n", "---", "===", "***"),
    *("```", "```python\n", "~~~\n", "**", "*", "_", "`", "~~", "|", "| a | b |\n"),
    *("|---|---|\n", "[x](http://u)", "![i](u)", "[n]: u\n", "[**b** `c`](d)", "<b>"),
    *("<div>\n", "&amp;", "<", "\\", "\\(", "\\)", "\\[", "\\]", "$", "$$", "[", "](", ")"),
    *("\\begin{a}\n", "\\end{a}", "日本", "🎉", "שלום", "\x1b[31m", "\u202e", "\r\n"),
    *("\0", "x_1", "a*b", " ", "+ "),
)
soups = st.lists(
    st.sampled_from(MARKS) | st.text("abé1", min_size=1, max_size=3), max_size=40
).map("".join)
"""Marks without an order: half-finished constructs of every kind."""
