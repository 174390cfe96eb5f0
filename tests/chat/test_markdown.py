from __future__ import annotations

import io
import random
import re
import time

import pytest
from rich.console import Console

from gptoss_mlx.chat import screen as screens
from gptoss_mlx.chat.blocks import BlockStream
from gptoss_mlx.chat.markdown import AnswerMarkdown
from gptoss_mlx.chat.markdown_parser import whole_blocks
from gptoss_mlx.chat.screen import Screen

PIECES = (
    *("\n", "\n\n", "# ", "- ", "1. ", "> ", "    ", "\t", "  \n", "---", "===", "***"),
    *("```", "```python\n", "**", "*", "_", "`", "~~", "|", "| a | b |\n", "|---|---|\n"),
    *("[x](http://u)", "![i](u)", "[n]: u\n", "[**b** `c`](d)", "<b>", "<div>\n", "&amp;"),
    *("\\", "日本", "🎉"),
)


def shown(text: str, *, width: int = 80) -> str:
    """Render a text at once."""
    out = io.StringIO()
    Console(file=out, width=width, markup=False).print(AnswerMarkdown(text), crop=False)
    return out.getvalue()


def streamed(pieces: list[str], *, width: int = 80) -> str:
    """Render a text piece by piece; return what is printed for good."""
    out = io.StringIO()
    with Screen(Console(file=out, width=width, markup=False)) as screen:
        stream = BlockStream(screen, render=AnswerMarkdown, whole=whole_blocks)
        for piece in pieces:
            stream.push(piece)
        stream.finish()
    return out.getvalue()


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every piece be looked at."""
    monkeypatch.setattr(screens, "REFRESH_S", 0)
    monkeypatch.setattr(screens, "REST_PER_DRAW", 0)


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("", ""),
        ("One line", ""),
        ("One\n\n", ""),
        ("One\n\nTwo", ""),
        ("One\n\nTwo\n", "One\n\n"),
        ("One\n***", ""),
        ("One\n***\n", "One\n"),
        ("- a\n- b\n\n- c\n", ""),
        ("- a\n\nEnd\n", "- a\n\n"),
        ("```\na\n\nb\n", ""),
        ("```\na\n```\nEnd\n", "```\na\n```\n"),
        ("| a |\n|---|\n| 1 |\n", ""),
        ("a\n\n[x]: y\n", "a\n\n"),
    ],
)
def test_a_block_is_whole_when_the_next_has_begun(text: str, whole: str) -> None:
    """A block ends with a complete line: an incomplete one may become anything."""
    assert text[: whole_blocks(text)] == whole


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<b>bold</b> and <br>", "<b>bold</b> and <br>"),
        ("<div>\ntext\n</div>", "<div>\ntext\n</div>"),
        ("[note]: https://example.org", "[note]: https://example.org"),
        ("[a](https://example.org)", "a (https://example.org)"),
        ("![a cat](cat.png)", "!a cat (cat.png)"),
        ("[red]text[/red]", "[red]text[/red]"),
        (":smile:", ":smile:"),
        ("# One\n\n## Two", "One\n\nTwo"),
        ("- a\n- b", " • a\n • b"),
        ("a\n\n- b\n\nc", "a\n\n • b\n\nc"),
        ("```python\nx = 1\n\ny", "x = 1\n\ny"),
        ("```some words\ncode\n```", "some words\ncode"),
        ("5\u202fkm", "5\u202fkm"),
        (r"\(x_1\) and \(x^{q}\)", r"x₁ and \(x^{q}\)"),
        (r"$a*b*c$, $$\alpha \le \beta$$", "a*b*c, α ≤ β"),
        ("\\[\na\n=\n- b\n\\]\n\nc", "a = - b\n\nc"),
        ("\\[\nq_1 = \\foo\n\n- b", "\\[\nq_1 = \\foo\n\n • b"),
        ("\\begin{a}\nx_1 & *y* \\\\\n\\end{a}", "\\begin{a}\nx_1 & *y* \\\\\n\\end{a}"),
        (r"$5 and $10, or 5$ and $HOME/*.py", r"$5 and $10, or 5$ and $HOME/*.py"),
        (r"\{a,b\} 2 \\ 3 C:\new", r"\{a,b\} 2 \\ 3 C:\new"),
        (r"\*a\* 1\. \$5 \[b", r"*a* 1\. $5 \[b"),
        ("2*3*4 and a*b*c", "2*3*4 and a*b*c"),
        ("An old pond\na frog\nwater  \n!", "An old pond\na frog\nwater\n!"),
        ("3. c\n4. d\n   - e\n     - f", " 3. c\n 4. d\n     • e\n        • f"),
        ("9) a\n10) b", "  9) a\n 10) b"),
        ("- [ ] a\n- [x] b", " • [ ] a\n • [x] b"),
        ("1. a\n\n   ```\n   \tb\n   ```", " 1. a\n\n\tb"),
        ("- ```\n  b\n  ```\n- ", " •\nb\n •"),
        ("> a\n> b\n>\n> > c", "▌ a\n▌ b\n▌\n▌ ▌ c"),
        ('[a](u "t") <http://u> [^1] &lt;', 'a (u "t") http://u [^1] &lt;'),
        ("| a | b |\n|--|--|\n| `x|y` | 1 | 2 |", "a    b\n──────────\nx|y  1 | 2"),
        ("> " * 30 + "a", "▌ " * 24 + "> " * 6 + "a"),
    ],
)
def test_nothing_the_model_wrote_vanishes(text: str, expected: str) -> None:
    """HTML and addresses stay visible, and an unfinished fence does too."""
    assert shown(text) == f"{expected}\n"


@pytest.mark.parametrize(
    "text",
    [
        "Regex ^a$|^b$",
        "Regex ^a+$|^b+$ or (a)$|(^b|c)$ or ^$|^b$",
        "https://x.y/?q=$a$&b=*c*",
        "See https://x.y/_a_/**b**/~~c~~?d=$x_1$, or http://x.y/$a*b$.",
        "file://x/*a*b*c",
        "$`a`$ and $`x_1`$",
        r"C:\Users\*name* and D:\_a_\*.txt and c:\$x_1$\y",
        "$5 + tax, or 3$",
        "US$5=CA$6 and x$y=z$",
        "a$x_1$",
    ],
)
def test_what_is_no_markup_stays_as_written(text: str) -> None:
    """Regular expressions, addresses, paths and sums of money contain dollars too."""
    assert shown(text) == f"{text}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("**https://x.y/a**, *http://x.y*", "https://x.y/a, http://x.y"),
        ("[https://x.y/_a_](https://x.y/_a_)", "https://x.y/_a_"),
        (r"**C:\new** and \*a\*", r"C:\new and *a*"),
        (r"https://x.y/a\_b", "https://x.y/a_b"),
        (r"($x_1$), *$x_1$*, 设$x_1$, $P(A|B)$", "(x₁), x₁, 设x₁, P(A|B)"),
        (r"f:\(x_1\) and $f: x_1$ and note: *a*", "f:x₁ and f: x₁ and note: a"),
    ],
)
def test_markup_around_an_address_or_a_formula_is_markup(text: str, expected: str) -> None:
    """Marks at the end of an address do not belong to it."""
    assert shown(text) == f"{expected}\n"


@pytest.mark.parametrize("width", [20, 80, 140])
@pytest.mark.parametrize("begin", ["", "- a\n\n  ", "> "])
def test_code_is_shown_as_it_is_to_be_copied(width: int, begin: str) -> None:
    """It begins at the left edge, keeps its tabs, and long lines are not wrapped."""
    long = f"\tif x:{' y' * 100} # *z*"
    indent = {"": "", "> ": "> "}.get(begin, "  ")
    text = f"{begin}```python\n{indent}{long}\n{indent}```\n"

    assert long in shown(text, width=width).splitlines()
    assert long in streamed([text], width=width).splitlines()


HOSTILE = (
    *(
        "[",
        "](",
        "[a](",
        "![",
        "*",
        "**a",
        "_",
        "`",
        "``",
        "~~",
        "<",
        "&",
        "$",
        "$a ",
        "\\(",
    ),
    *(
        "\\[",
        "$$",
        "\\begin{a}",
        "|",
        "a|",
        "> ",
        "- ",
        "1. ",
        "#",
        "\n",
        "\t",
        "\\",
        "(",
        "_a",
    ),
    *("- a\n", "> a\n", "|a|\n|-|\n", "a\n=\n", "$$\n", "\\[\n", "[`", "*_", "日", "](u)"),
)


@pytest.mark.slow
@pytest.mark.timed
@pytest.mark.parametrize("piece", HOSTILE)
def test_a_megabyte_of_marks_takes_seconds(piece: str) -> None:
    """For any kind of mark, and in pieces."""
    text = piece * (1_000_000 // len(piece))
    pieces = [text[i : i + 20_000] for i in range(0, len(text), 20_000)]
    begun = time.process_time()
    streamed(pieces)

    assert time.process_time() - begun < 60


@pytest.mark.parametrize("piece", ["[", "$a ", "- a\n", "|a|\n|-|\n"])
def test_marks_without_end_take_no_time(piece: str) -> None:
    """A smaller sample of the same texts."""
    begun = time.process_time()
    streamed([piece * (20_000 // len(piece))])

    assert time.process_time() - begun < 2


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("autoit", " " * 50_000),
        ("c", "\n" * 50_000 + "x"),
        ("csharp", "a\n" * 20_000),
        ("ini", ": " * 20_000),
        ("makefile", "_" * 50_000),
        ("typescript", "a.\n " * 10_000),
    ],
)
def test_a_slow_lexer_takes_no_time(language: str, code: str) -> None:
    """Code is coloured by lexers that are known, and to a length; the rest is shown."""
    begun = time.process_time()
    actual = shown(f"```{language}\n{code}\n```\n")

    assert time.process_time() - begun < 3
    assert actual.rstrip("\n") == code.rstrip("\n")


def test_a_table_too_wide_for_the_window_is_a_list() -> None:
    """Every cell is to be read, with the head of its column."""
    row = "|".join(f"value{i}" for i in range(9))
    text = f"{'|'.join(f'head{i}' for i in range(9))}\n{'|'.join(['---'] * 9)}\n{row}\n"

    assert shown(text, width=100).splitlines()[0].split() == [f"head{i}" for i in range(9)]
    assert shown(text, width=40).splitlines()[:2] == ["head0: value0", "head1: value1"]


def test_lines_are_not_filled_up_with_spaces() -> None:
    """So that they can be copied, and a window made narrower."""
    text = "# Head\n\nA word\n\n- item\n\n| a |\n|---|\n| b |\n\n```\ncode\n```\n"

    assert not re.search(" $", shown(text), re.MULTILINE)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("seed", range(40))
def test_a_streamed_text_looks_like_one_at_once(seed: int) -> None:
    """For any pieces, each word is printed once and in order."""
    choice = random.Random(seed)
    written = [
        f"word{i}\n" if choice.random() < 0.3 else choice.choice(PIECES) for i in range(60)
    ]
    text = "".join(written)
    actual = streamed(written)

    assert actual.split() == shown(text).split()
    assert re.findall(r"word\d+", actual) == re.findall(r"word\d+", text)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("width", [1, 2, 5, 40])
def test_a_narrow_window_is_no_crash(width: int) -> None:
    """Lists in quotes in lists, tables and code."""
    text = "> - > 1. deep\n\n| a | b |\n|---|---|\n| 日本 | c |\n\n```python\nx = 1\n```\n"

    assert "x" in streamed(list(text), width=width)


@pytest.mark.usefixtures("eager")
def test_a_block_longer_than_the_screen_is_printed_whole_and_once() -> None:
    """While it is written its end is seen; after it, nothing of that is left."""
    out = io.StringIO()
    console = Console(file=out, width=40, height=10, force_terminal=True)
    with Screen(console) as screen:
        stream = BlockStream(screen, render=AnswerMarkdown, whole=whole_blocks)
        for i in range(30):
            stream.push(f"{'```' if not i else 'line'} {i}\n")
        before = len(out.getvalue())
        stream.push("```\nEnd\n")
        after = out.getvalue()[before:]
        stream.finish()
    last_before = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue()[:before])

    assert last_before.splitlines()[-9:] == [f"line {i}" for i in range(21, 30)]
    assert re.findall(r"line \d+", after) == [f"line {i}" for i in range(1, 30)]


@pytest.mark.usefixtures("eager")
def test_a_block_is_seen_while_it_is_written() -> None:
    """An unfinished fence is shown as code."""
    out = io.StringIO()
    console = Console(file=out, width=40, height=10, force_terminal=True)
    with Screen(console) as screen:
        stream = BlockStream(screen, render=AnswerMarkdown, whole=whole_blocks)
        stream.push("```\n**no")

    assert "**no" in out.getvalue()
