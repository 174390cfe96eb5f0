from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from evidence import Note
from killed import kill_at_random

from gptoss_mlx.library.library import Library
from gptoss_mlx.library.update import Progress

FILES = 40
# Small batches, so that most moments are between two.
IMPORTS = """
import os, shutil, sys
from pathlib import Path
from gptoss_mlx.library import update
from gptoss_mlx.library.library import Library
update._BATCH_SECONDS = 0.01
"""
# For each word of the kind "number7", the document that a search of SQLite leads to.
PLACES = "CREATE VIRTUAL TABLE temp.places USING fts5vocab (main, terms, instance)"
FOUND = """
SELECT term, name FROM temp.places JOIN passages ON passages.id = doc
JOIN documents ON documents.id = document WHERE term LIKE 'number%';
"""
CONTENTS = {
    "documents": "SELECT name, title, language, layout FROM documents ORDER BY name",
    "passages": "SELECT name, first_line, last_line, headings, page, text FROM passages"
    " JOIN documents ON documents.id = document ORDER BY name, first_line",
    "terms": "SELECT term, doc, cnt FROM term_counts ORDER BY term",
    "files": "SELECT root, path, nbytes, name, reason FROM files ORDER BY root, path",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of documents; libraries are in an own home."""
    monkeypatch.setenv("GPTOSS_MLX_HOME", str(tmp_path / "home"))
    chance = random.Random(23)
    words = [f"word{chance.getrandbits(16):x}" for _ in range(500)]
    folder = tmp_path / "documents"
    for number in range(FILES):
        path = folder / str(number % 7) / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [" ".join(chance.choices(words, k=9)) for _ in range(30)]
        path.write_text("\n".join([f"number{number}", *lines]))
    (folder / "picture").write_bytes(b"\0")
    return folder


def database(tmp_path: Path) -> Path:
    """The index's file."""
    return tmp_path / "home" / "library" / "documents" / "index.db"


def contents(path: Path) -> dict[str, list[Any]]:
    """All that an index holds, but the numbers of its rows."""
    with closing(sqlite3.connect(path)) as connection:
        return {
            name: connection.execute(query).fetchall() for name, query in CONTENTS.items()
        }


def check(path: Path) -> None:
    """What was committed is whole: every document is found, and by its file too."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        connection.execute("INSERT INTO terms (terms) VALUES ('integrity-check')")
        # With the 1, also against the vocabulary.
        connection.execute(
            "INSERT INTO trigrams (trigrams, rank) VALUES ('integrity-check', 1)"
        )
        connection.execute(PLACES)
        found = dict(connection.execute(FOUND).fetchall())
    with Library(name="documents", update=False) as library:
        names = library.names()
        for name in names:
            number = library.text(name).lines[0]
            assert found.get(number) == name
            assert library.path_of(name).name.startswith(number.removeprefix("number"))
        for name in names[:2]:
            assert library.search(library.text(name).lines[0])[0].name == name


def fresh(folder: Path) -> dict[str, list[Any]]:
    """The contents of a new index of a folder."""
    with Library(folder, name="fresh") as library:
        found = contents(library.path / "index.db")
    shutil.rmtree(library.path)
    return found


# A few times, and 20 times among the slow tests.
TIMES = [3, pytest.param(20, marks=pytest.mark.slow)]


@pytest.mark.parametrize("times", TIMES)
def test_an_add_that_is_killed(
    folder: Path, tmp_path: Path, note: Note, times: int
) -> None:
    """What it has committed is whole, and the next one completes it."""
    whole = fresh(folder)
    path = database(tmp_path)

    def then() -> bool:
        committed = 0
        if has_tables(path):
            check(path)
            committed = len(contents(path)["documents"])
        with Library(folder) as library:
            assert library.path == path.parent
        check(path)
        assert contents(path) == whole
        shutil.rmtree(path.parent)
        return committed < FILES

    killed = kill_at_random(
        IMPORTS, f"Library({str(folder)!r})", times=times, then=then, seed=times
    )
    assert killed == times
    note("killed_updates", killed)


def has_tables(path: Path) -> bool:
    """Whether the index was made."""
    if not path.exists():
        return False
    with closing(sqlite3.connect(path)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    return bool(version)


CHANGE = """
folder = Path({folder!r})
for number in range({files}):
    path = folder / str(number % 7) / f"{{number}}.txt"
    if number % 4 == 0:
        path.write_text(f"number{{number}}" + chr(10) + "a changed text " * 99)
    elif number % 4 == 1:
        path.unlink(missing_ok=True)
    elif number % 4 == 2 and path.exists():
        path.replace(path.with_name(f"{{number}}-moved.txt"))
"""


@pytest.mark.parametrize("times", TIMES)
def test_an_update_that_is_killed(
    folder: Path, tmp_path: Path, note: Note, times: int
) -> None:
    """After it, each document is as before or as it is now, or not there."""
    Library(folder).close()
    path = database(tmp_path)
    saved = tmp_path / "saved"
    shutil.copytree(path.parent, saved)
    change = CHANGE.format(folder=str(folder), files=FILES)
    subprocess.run([sys.executable, "-c", f"{IMPORTS}\n{change}"], check=True)
    whole = fresh(folder)

    def then() -> bool:
        check(path)
        was_done = contents(path) == whole
        with Library(folder):
            pass
        check(path)
        assert contents(path) == whole
        shutil.rmtree(path.parent)
        shutil.copytree(saved, path.parent)
        return not was_done

    killed = kill_at_random(
        IMPORTS, f"Library({str(folder)!r})", times=times, then=then, seed=times
    )
    assert killed == times
    note("killed_updates", killed)


def test_two_updates_at_once(folder: Path, tmp_path: Path) -> None:
    """The second waits, says so, and finds nothing to do."""
    program = (
        f"{IMPORTS}\n"
        "def hold(progress):\n"
        "    if progress.total_files and progress.files == 0:\n"
        "        print('updating', flush=True)\n"
        "        sys.stdin.readline()\n"
        "def say(line):\n"
        "    if line.startswith('Waiting'):\n"
        "        print(line, flush=True)\n"
        f"with Library({str(folder)!r}, update=False, say=say) as library:\n"
        "    done = library.update(progress=hold)\n"
        "print(done.added, done.changed, done.removed, done.unchanged)\n"
    )
    first, second = (
        subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    )
    outputs = []
    assert first.stdout is not None
    assert second.stdout is not None
    lines = {first.stdout.readline(): first, second.stdout.readline(): second}
    waiting = "Waiting for another program that updates this library.\n"
    assert set(lines) == {"updating\n", waiting}
    for line in ("updating\n", waiting):
        output, _ = lines[line].communicate("go on\n", timeout=60)
        outputs.append(output.strip())

    assert outputs == [f"{FILES} 0 0 0", f"0 0 0 {FILES}"]
    assert (first.returncode, second.returncode) == (0, 0)
    check(database(tmp_path))


def test_a_search_during_an_update(folder: Path) -> None:
    """It finds what is committed, in another thread or through another object."""
    with Library(folder) as library, Library(folder, update=False) as other:
        for path in folder.glob("*/*.txt"):
            path.write_text(path.read_text() + " more")
        found: list[str] = []

        def search(progress: Progress) -> None:
            if progress.files % 8:
                return
            found.append(library.search("number7")[0].name)
            found.append(other.search("number7")[0].name)
            assert other.text("documents/0/7.txt").lines[0] == "number7"

        update = library.update(progress=search)

        assert update.changed == FILES
        assert set(found) == {"documents/0/7.txt"}
