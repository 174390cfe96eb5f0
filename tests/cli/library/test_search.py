"""``gptoss-mlx library search``."""

from __future__ import annotations

import io
import json
import re
import time
from pathlib import Path

import pytest
from library_command import LEASE, library

from gptoss_mlx.cli.passages import QueryWords, best_lines
from gptoss_mlx.library.index import Hit


def test_a_search_prints_json(added: Path) -> None:
    """Lines are counted from 1; the page is that of the best line."""
    hits = json.loads(library("search", "heating", "--json", "--limit", "3").stdout)
    by_name = {hit["document"]: hit for hit in hits}

    assert set(by_name) == {"notes/lease.md", "notes/old/todo.txt", "notes/two.pdf"}
    lease = by_name["notes/lease.md"]
    assert lease["library"] == "notes"
    assert lease["path"] == str(added / "notes" / "lease.md")
    assert (lease["first_line"], lease["best_line"], lease["last_line"]) == (1, 5, 7)
    assert lease["headings"] == ["Lease", "Heating"]
    assert lease["text"] == LEASE.rstrip("\n")
    assert by_name["notes/two.pdf"]["page"] == 2
    assert by_name["notes/two.pdf"]["best_line"] == 3
    assert (
        len(json.loads(library("search", "heating", "--json", "--limit", "1").stdout)) == 1
    )


def test_a_search_that_finds_nothing_ends_as_grep_does(added: Path) -> None:
    """Exit 1, nothing on stdout, a line on stderr."""
    done = library("search", "zzzqq")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Nothing was found for 'zzzqq' in notes.\n"
    done = library("search", "--json", "zzzqq")
    assert (done.returncode, done.stdout) == (1, "[]\n")


def test_all_libraries_are_searched_in_turn(added: Path) -> None:
    """The best of each come first, as scores of two searches are not comparable."""
    (added / "letters").mkdir()
    for name in ("a.txt", "b.txt"):
        (added / "letters" / name).write_text("The heating is cold.\n")
    library("add", "letters")
    found = re.findall(r"^(\S+):\d", library("search", "heating").stdout, re.MULTILINE)

    assert [path.split("/")[0] for path in found] == [
        "letters",
        "notes",
        "letters",
        "notes",
        "notes",
    ]
    alone = library("search", "heating", "--in", "letters").stdout
    assert re.findall(r"^(\S+):\d", alone, re.MULTILINE) == [
        "letters/a.txt",
        "letters/b.txt",
    ]


def test_a_path_that_is_in_no_library_is_indexed_first(folder: Path) -> None:
    """And then it is in one."""
    done = library("search", "lamp", "--in", "notes/old")

    assert done.returncode == 0
    assert done.stdout.startswith("notes/old/todo.txt:1\n")
    assert done.stderr.startswith("old: 1 document, 1 passage, ")
    assert library("search", "lamp", "--in", "notes/old").stderr == ""


@pytest.mark.parametrize(
    ("at", "shown"),
    [(".", "notes/lease.md"), ("notes/old", "~/notes/lease.md"), ("/", "/notes/lease.md")],
)
def test_a_path_is_shown_as_it_would_be_typed(
    at: str, shown: str, added: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the current folder, else from the home folder, else whole."""
    monkeypatch.setenv("HOME", str(added if at != "/" else added / "someone"))
    monkeypatch.chdir(added / at if at != "/" else "/usr")
    place = library("search", "tenant").stdout.split(":")[0]

    assert place == (f"{added}{shown}" if at == "/" else shown)


def test_a_long_line_is_cut_around_the_words(folder: Path) -> None:
    """A paragraph is one line in many documents."""
    filler = "Nothing of interest is said here. "
    text = f"{filler * 40}The boiler was repaired in May. {filler * 40}"
    (folder / "notes" / "long.txt").write_text(text)
    library("add", "notes")
    line = library("search", "boiler repaired").stdout.splitlines()[1]

    assert line.startswith("  1  … ")
    assert line.endswith(" …")
    assert "The boiler was repaired in May." in line
    assert len(line) < 260


def test_a_line_of_very_many_matches_is_cut_at_once(folder: Path) -> None:
    """An export or a minified program is one line. The time grows with its length alone."""
    line = "nothing " * 100 + "zebra " * 50_000 + "zebra zebra zebra"
    begun = time.monotonic()
    hit = Hit("x.json", "x", 0, 0, (), None, 1.0, 0, line)
    ((index, shown),) = best_lines(hit, QueryWords("zebra"))

    assert time.monotonic() - begun < 5
    assert (index, shown.count("zebra")) == (0, 40)


def test_a_file_in_several_libraries_is_shown_once(added: Path) -> None:
    """A search finds each passage once, and the file can be opened by its name."""
    library("add", "notes/old")
    library("add", "notes/old/todo.txt", "--name", "todo")
    found = library("search", "heating meter").stdout

    assert found.count("notes/old/todo.txt:2") == 1
    assert library("open", "todo.txt").returncode == 0


def test_search_on_a_terminal_is_bold(
    added: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The words of the query, in any form; plain with NO_COLOR."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for plain in ("", "1"):
        monkeypatch.setenv("NO_COLOR", plain)
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", "40")
        terminal = Terminal()
        with monkeypatch.context() as patch:
            patch.setattr("sys.stdout", terminal)
            from gptoss_mlx.cli.library_search import search

            search(["cost of heating"], limit=1)
        shown = terminal.getvalue()
        bold = re.findall(r"\x1b\[1m(.*?)\x1b\[0m", shown)
        assert bold == ([] if plain else ["Heating", "heating", "costs"])
        assert [len(line) <= 40 for line in re.sub(r"\x1b\[\d*m", "", shown).splitlines()]
        assert ("\x1b" in shown) is not bool(plain)
