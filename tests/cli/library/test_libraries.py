"""``gptoss-mlx library`` on whole libraries: list, update, remove; and all its commands."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from library_command import LEASE, library
from program import Done

from gptoss_mlx.cli.library_choice import complete_library


def test_libraries_are_listed(added: Path) -> None:
    """A line for each, or JSON."""
    library("add", "notes/lease.md", "notes/two.pdf", "--name", "b")
    first, second = library("list").stdout.splitlines()

    assert re.fullmatch(
        r"b      2 documents, 0 skipped, index 0\.\d MB, updated 20\d\d-\d\d-\d\d"
        r" \d\d:\d\d: notes/lease.md, notes/two.pdf",
        first,
    )
    assert second.startswith("notes  3 documents, 1 skipped, index ")
    assert library("list", "b").stdout.splitlines() == [first.replace("b      ", "b  ")]
    told = json.loads(library("list", "--json").stdout)
    assert told[1]["paths"] == [str(added / "notes")]
    assert (told[1]["documents"], told[1]["passages"], told[1]["skipped"]) == (3, 3, 1)
    assert told[1]["bytes"] > len(LEASE)
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}", told[1]["updated"])
    assert library().stdout == library("list").stdout


def test_without_a_library_there_is_a_next_step(folder: Path) -> None:
    """Listing none is no error; searching none is one."""
    done = library("list")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.endswith("Hint: gptoss-mlx library add FOLDER\n")
    assert json.loads(library("list", "--json").stdout) == []

    for command in (["search", "x"], ["open", "x"], ["update"]):
        done = library(*command)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.splitlines()[-1] == (
            "Hint: Make one of a folder: gptoss-mlx library add FOLDER"
        )


def test_a_damaged_library_is_listed_and_can_be_removed(added: Path) -> None:
    """The others are listed as well."""
    library("add", "notes/old")
    (added / "home" / "library" / "notes" / "index.db").write_text("garbage " * 1000)
    damaged, whole = library("list").stdout.splitlines()

    assert damaged.startswith("notes  damaged: ")
    assert whole.startswith("old    1 document")
    assert library("remove", "notes", "-y").returncode == 0
    assert library("list").stdout.splitlines() == [whole.replace("old    ", "old  ")]


def test_a_damaged_library_is_not_in_the_way_of_the_others(added: Path) -> None:
    """It is named with the command that removes it; the status is that of the others."""
    library("add", "notes/old")
    (added / "home" / "library" / "notes" / "index.db").write_text("garbage " * 1000)
    for command in (["search", "heating"], ["open", "todo.txt"], ["update"]):
        done = library(*command)

        assert done.returncode == 0
        assert "notes/index.db: file is not a database." in done.stderr
        assert "gptoss-mlx library remove notes" in done.stderr
        assert (
            "todo.txt" in done.stdout
            or "Buy a lamp" in done.stdout
            or ("old: 0 new" in done.stderr)
        )

    library("remove", "old", "-y")
    done = library("search", "heating")
    assert (done.returncode, done.stdout) == (1, "")


def test_a_home_that_is_read_only_can_be_read(added: Path, cannot_write: list[str]) -> None:
    """Listed, searched and opened; that nothing can be added is said."""
    program = [*cannot_write, sys.executable, "-m", "gptoss_mlx"]

    def run(*arguments: str) -> Done:
        done = subprocess.run(
            [*program, *arguments], capture_output=True, text=True, check=False
        )
        return Done(done.returncode, done.stdout, done.stderr)

    home = added / "home"
    paths = [home, *home.rglob("*")]
    try:
        for path in paths:
            path.chmod(0o555 if path.is_dir() else 0o444)
        assert run("library", "list").stdout.startswith("notes  3 documents")
        assert "lease.md:7" in run("library", "search", "heating costs").stdout
        assert run("library", "open", "todo.txt").stdout.startswith(" 1  Buy a lamp.")
        asked = run("ask", "-m", "demo", "Why?", "--in", "notes")
        for command in ("update", "add notes/old"):
            done = run("library", *command.split())
            assert done.returncode == 1
            assert "Permission denied" in done.stderr
            assert "GPTOSS_MLX_HOME" in done.stderr
    finally:
        for path in paths:
            path.chmod(0o755 if path.is_dir() else 0o644)

    assert "What has changed in notes is not read." in asked.stderr


def test_an_update_says_what_has_changed(added: Path) -> None:
    """All libraries, or those that are named."""
    (added / "notes" / "new.txt").write_text("A new text about boilers.\n")
    (added / "notes" / "lease.md").write_text(f"{LEASE}\nAnd a garden.\n")
    (added / "notes" / "two.pdf").unlink()
    assert library("search", "boilers").returncode == 1
    done = library("update")

    assert re.fullmatch(
        r"notes: 1 new, 1 changed, 1 removed, 1 unchanged, 1 skipped, in \d+\.\d s\n",
        done.stderr,
    )
    assert library("search", "boilers").returncode == 0
    assert library("update", "notes").stderr.startswith("notes: 0 new, 0 changed, ")
    assert "Did you mean notes?" in library("update", "nots").stderr


def test_a_library_is_removed_and_its_files_stay(added: Path) -> None:
    """By its name or its folder, also if that is gone."""
    done = library("remove", "notes", "--yes")

    assert (done.returncode, done.stderr) == (
        0,
        "Removed notes. The files themselves stay.\n",
    )
    assert (added / "notes" / "lease.md").exists()
    assert library("list").stdout == ""

    library("add", "notes", "--name", "other")
    shutil.rmtree(added / "notes")
    assert library("remove", "./notes", "-y").stderr.startswith("Removed other.")


def test_a_folder_is_removed_from_a_library(folder: Path) -> None:
    """The other one stays."""
    library("add", "notes/old", "notes/lease.md", "--name", "both")
    done = library("remove", "notes/old", "--yes")

    assert done.stderr == "Removed notes/old from both. The files themselves stay.\n"
    assert library("list").stdout.startswith("both  1 document, 0 skipped")
    assert library("search", "lamp").returncode == 1


def test_a_library_is_not_removed_unasked(
    added: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a terminal there is no question; the hint is the command that removes it."""
    done = library("remove", "notes")

    assert done.returncode == 1
    assert done.stderr == (
        "Error: notes is not removed without confirmation.\n"
        "Hint: gptoss-mlx library remove --yes notes\n"
    )
    assert library("list").stdout.startswith("notes ")


@pytest.mark.parametrize("command", ["add", "list", "open", "remove", "search", "update"])
def test_each_command_has_an_example(command: str) -> None:
    """And needs no library for its help."""
    done = library(command, "--help")

    assert done.returncode == 0
    assert "Example: gptoss-mlx library" in done.stdout


def test_names_are_completed(added: Path) -> None:
    """Those that begin with what was typed."""
    assert complete_library("n") == ["notes"]
    assert complete_library("x") == []


def test_names_of_files_reach_a_reader_harmless(folder: Path) -> None:
    """Invisible characters are escapes in names and gone from texts."""
    (folder / "notes" / "a\x1b[2J.txt").write_text("clear \x1b[2J the screen")
    (folder / "notes" / "b\x1b[2J.bin").write_bytes(b"\0")
    added = library("add", "notes")
    shown = [
        added.stderr,
        *(
            library(*command).stdout
            for command in (
                ["search", "screen"],
                ["list", "--skipped"],
                ["open", "[2J.txt"],
            )
        ),
    ]

    assert all(shown)
    assert not any("\x1b" in text for text in shown)
    assert "a\\x1b[2J.txt:1" in shown[1]
