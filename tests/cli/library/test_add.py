"""``gptoss-mlx library add``."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from library_command import library
from program import run_offline

from gptoss_mlx.cli import library_update
from gptoss_mlx.errors import StorageError
from gptoss_mlx.library.library import Library


def test_a_folder_is_added_searched_and_opened_offline(folder: Path) -> None:
    """In a process of its own: nothing is asked of a network."""
    done = run_offline("library", "add", "notes")
    assert (done.returncode, done.stdout, done.attempts) == (0, "", "[]")
    summary, *skipped, search, ask = done.stderr.splitlines()

    assert re.fullmatch(r"notes: 3 documents, 3 passages, 1 skipped, in \d+\.\d s", summary)
    assert skipped == ["Skipped notes/x.bin: a binary file"]
    assert search == "To search it: gptoss-mlx library search --in notes QUERY"
    assert ask == "To ask about it: gptoss-mlx ask --in notes QUESTION"

    done = run_offline("library", "search", "who pays for heating?")
    assert (done.returncode, done.stderr, done.attempts) == (0, "", "[]")
    assert done.stdout.splitlines()[:3] == [
        "notes/lease.md:7  Lease › Heating",
        "  5  ## Heating",
        "  7  The tenant pays the heating costs by the tenth of each month.",
    ]

    done = run_offline("library", "open", "lease.md:7")
    assert (done.returncode, done.stderr, done.attempts) == (0, "", "[]")
    assert done.stdout.splitlines()[-2:] == [
        " 6",
        ">7  The tenant pays the heating costs by the tenth of each month.",
    ]


def test_what_is_skipped_is_listed_but_not_all_of_it(folder: Path) -> None:
    """The rest by a command of its own."""
    for number in range(11):
        (folder / "notes" / f"y{number:02}.bin").write_bytes(b"\0")
    lines = library("add", "notes").stderr.splitlines()

    assert sum(line.startswith("Skipped ") for line in lines) == 10
    assert lines[11] == "2 more, all listed by: gptoss-mlx library list --skipped notes"
    listed = library("list", "--skipped", "notes").stdout.splitlines()
    assert len(listed) == 12
    assert listed[0].split(maxsplit=1) == ["notes/x.bin", "a binary file"]
    told = json.loads(library("list", "--skipped", "--json").stdout)
    assert told[0] == {
        "library": "notes",
        "path": str(folder / "notes" / "x.bin"),
        "reason": "a binary file",
    }


WITHOUT_LIBZIM = """
import sys
sys.modules["libzim"] = sys.modules["libzim.reader"] = None
"""


def test_a_package_that_is_missing_is_said_once(folder: Path) -> None:
    """With the command that installs it, not for each file."""
    for name in ("a.zim", "b.zim"):
        (folder / name).write_bytes(b"ZIM\x04" + bytes(100))
    done = run_offline("library", "add", "notes", "a.zim", "b.zim", before=WITHOUT_LIBZIM)

    assert "2 files skipped for want of libzim: pip install libzim" in done.stderr
    assert done.stderr.count("libzim") == 2


def test_what_was_stopped_is_kept_and_continued(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 130; the command that continues is the same one."""
    update = Library.update

    def stop(self: Library, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Library, "update", stop)
    done = library("add", "notes", "--name", "my notes")

    assert done.returncode == 130
    command = "gptoss-mlx library add notes --name 'my notes'"
    assert done.stderr == f"Stopped. What was read is kept. To continue: {command}\n"
    monkeypatch.setattr(Library, "update", update)
    again = library("add", "notes", "--name", "my notes")
    assert again.stderr.startswith("my notes: 3 documents")
    assert "--in 'my notes' QUERY" in again.stderr


def test_a_path_that_is_not_there_is_an_error(folder: Path) -> None:
    """The nearest one is named; nothing is made."""
    done = library("add", "notes/old", "note")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "Error: note: there is no such file or folder.\nHint: Did you mean notes?\n"
    )
    assert library("list").stdout == ""


@pytest.mark.parametrize("command", [["add", ""], ["search", "--in", "", "x"]])
def test_an_empty_path_is_an_error(folder: Path, command: list[str]) -> None:
    """A shell's variable without a value is not the current folder."""
    done = library(*command)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "Error: A path must not be empty.\nHint: Name a file or folder.\n"
    )
    assert not (folder / "home" / "library").exists()
    with pytest.raises(StorageError, match="must not be empty"):
        Library("")


def test_what_may_not_be_read_has_the_hint_of_our_own(
    folder: Path, cannot_write: list[str]
) -> None:
    """Not that of typer, which knows nothing of Full Disk Access on a Mac."""
    (folder / "closed").mkdir(0o000)
    for command in ("library add closed", "ask -m demo --file closed/a Why?"):
        program = [*cannot_write, sys.executable, "-m", "gptoss_mlx", *command.split()]
        done = subprocess.run(program, capture_output=True, text=True, check=False)

        assert (done.returncode, done.stdout) == (1, "")
        assert "Permission denied." in done.stderr
        assert "Hint: Change the permissions, or name another folder." in done.stderr


def test_progress_is_lines_where_there_is_no_terminal(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One in a while, with the files and bytes read."""
    monkeypatch.setattr("gptoss_mlx.cli.progress.LINE_S", 0)
    lines = library("add", "notes").stderr.splitlines()

    assert lines[0] == "Indexing notes: 0 of 4 files"
    assert re.fullmatch(
        r"Indexing notes: 1 of 4 files, 0\.0 MB of 0\.0 MB, 0:0\d left", lines[1]
    )


def test_numbers_have_their_nouns() -> None:
    """One and many."""
    assert library_update.number_text(1, "file") == "1 file"
    assert library_update.number_text(1234, "file") == "1,234 files"
