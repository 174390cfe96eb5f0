from __future__ import annotations

import io
import random
import re

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
    monkeypatch.setattr(screens, "SECONDS_BETWEEN_REFRESHES", 0)
    monkeypatch.setattr(screens, "REFRESHES_REST", 0)


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
    """With a line that has ended: half a line may become anything."""
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
    ],
)
def test_nothing_the_model_wrote_vanishes(text: str, expected: str) -> None:
    """Neither what looks like HTML nor an address, and a fence may be half written."""
    assert shown(text) == f"{expected}\n"


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
    """Whatever the pieces are, each word is printed once, in order."""
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
    """A half-written fence is code already."""
    out = io.StringIO()
    console = Console(file=out, width=40, height=10, force_terminal=True)
    with Screen(console) as screen:
        stream = BlockStream(screen, render=AnswerMarkdown, whole=whole_blocks)
        stream.push("```\n**no")

    assert "**no" in out.getvalue()
