from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

from gptoss_mlx.library.index import Index

ADD = """
import sys
from gptoss_mlx.library.index import Index
from gptoss_mlx.library.text import Text
path, first, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with Index(path) as index:
    print("open", flush=True)
    for number in range(first, last):
        with index.transaction():
            for half in "ab":
                index.add(f"{number}{half}", Text("", (f"boiler word{number}",) * 50))
"""


def adding(path: Path, first: int, last: int) -> subprocess.Popen[str]:
    """Return a process that adds two documents at a time."""
    return subprocess.Popen(
        [sys.executable, "-c", ADD, str(path), str(first), str(last)],
        stdout=subprocess.PIPE,
        text=True,
    )


def check(path: Path) -> list[str]:
    """Return the names in an index; a sample is found."""
    with Index(path) as index:
        names = index.names()
        for name in names[::20]:
            hits = index.search(f"word{name[:-1]}", 2)
            assert {hit.name[:-1] for hit in hits} == {name[:-1]}
    database = sqlite3.connect(path)
    database.execute("INSERT INTO terms (terms) VALUES ('integrity-check')")
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()
    return names


def test_killed_while_adding(tmp_path: Path) -> None:
    """What was committed is found, and a document is there with its pair or not at all."""
    path = tmp_path / "index.db"
    moments = random.Random(1)
    for first in range(0, 500, 100):
        process = adding(path, first, first + 100)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(moments.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        names = check(path)
        pairs = {name[:-1] for name in names}
        assert names == sorted(pair + half for pair in pairs for half in "ab")


def test_two_processes_add_at_once(tmp_path: Path) -> None:
    """Each waits for the other, and all documents are there."""
    path = tmp_path / "index.db"
    processes = [adding(path, 0, 40), adding(path, 40, 80)]
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0

    assert len(check(path)) == 160


def test_a_new_index_that_another_program_is_about_to_make(tmp_path: Path) -> None:
    """It waits for the other, which SQLite does not do before the journal is a WAL."""
    path = tmp_path / "index.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    ends = threading.Timer(0.3, lambda: other.execute("COMMIT"))
    ends.start()
    with closing(Index(path)) as index:
        ends.join()
        other.close()

        assert list(index.search("anything")) == []
