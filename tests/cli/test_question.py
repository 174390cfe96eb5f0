from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from program import Done, run_here, run_offline
from small_documents import DOCUMENTS

from gptoss_mlx.cli import question


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a document of each kind."""
    monkeypatch.chdir(tmp_path)
    for name, content in DOCUMENTS.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def ask(*arguments: str, stdin: bytes = b"") -> Done:
    """Run the command; one token of an answer is enough."""
    return run_here("ask", "--json", "--max-tokens", "1", *arguments, stdin=stdin)


def asked(done: Done) -> str:
    """Return the question that the model has read."""
    (user,) = (m for m in json.loads(done.stdout)["messages"] if m["role"] == "user")
    text: str = user["content"][0]["text"]
    return text


def test_files_stand_before_the_question(folder: Path) -> None:
    """In their order, text on stdin after them; their tokens are on stderr."""
    done = ask("-f", "a.pdf", "--file", "a.csv", "What is it?", stdin=b"Notes.\n")

    assert asked(done).startswith(
        "File: a.pdf\n```\nRent\n900 euros\nHeating\n```\n\nFile: a.csv\n```\n"
    )
    assert asked(done).endswith("\n```\n\nNotes.\n\nWhat is it?")
    assert "a.pdf: 15 tokens\n" in done.stderr
    assert "a.csv: " in done.stderr


@pytest.mark.parametrize("name", ["a.pdf", "a.docx", "a.epub"])
def test_a_document_on_stdin_is_read_as_a_file_is(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its temporary file is removed."""
    (folder / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "tmp"))
    piped = ask("What is it?", stdin=DOCUMENTS[name])
    named = ask("What is it?", "--file", name)

    assert asked(piped) == asked(named).replace(f"File: {name}", "File: stdin")
    assert "stdin: " in piped.stderr
    assert list((folder / "tmp").iterdir()) == []


def test_text_on_stdin_is_as_it_is() -> None:
    """Also HTML and RTF's source: it may be what the question is about."""
    for text in ("<!doctype html><p>Hm</p>", r"{\rtf1 Hm}", "File: a\n```\nb"):
        assert asked(ask("Why?", stdin=text.encode())) == f"{text}\n\nWhy?"


@pytest.mark.parametrize(
    ("arguments", "stdin", "message", "hint"),
    [
        (["-f", "no.pdf", "Hm?"], b"", "no.pdf: there is no such file.", "Did you mean"),
        (["-f", ".", "Hm?"], b"", ".: is a folder.", "gptoss-mlx ask --in FOLDER"),
        (["-f", "e.txt", "Hm?"], b"", "e.txt: has no text.", "Name a file with text."),
        (["-f", "x", "Hm?"], b"", "x: a binary file", "Save it as PDF"),
        (["Hm?"], b"ELF\0", "stdin: a binary file", "Save it as PDF"),
        (["Hm?"], b"%PDF-1.4\n", "stdin: is damaged: ", "Save it as PDF"),
        (["-f", "a.md"], b"", "A question is missing.", 'ask --file a.md "…"'),
        ([], DOCUMENTS["a.pdf"], "A question is missing.", "Ask one"),
    ],
)
def test_what_cannot_be_attached_is_an_error(
    arguments: list[str], stdin: bytes, message: str, hint: str, folder: Path
) -> None:
    """Exit 1, nothing on stdout, one line and a hint: before a model is looked for."""
    (folder / "e.txt").touch()
    (folder / "x").write_bytes(b"\0\1")
    done = ask(*arguments, stdin=stdin)
    error, said = done.stderr.splitlines()

    assert (done.returncode, done.stdout) == (1, "")
    assert error.startswith(f"Error: {message}")
    assert said.startswith("Hint: ")
    assert hint in said


def test_a_file_that_is_too_long_is_an_error_before_the_model_is_loaded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tokens, those that there is room for, and the command that searches it."""
    monkeypatch.setattr("gptoss_mlx.llm.load_source", None)
    (folder / "my book.txt").write_text("word " * 140_000)
    done = ask("-f", "my book.txt", "Who's the murderer?")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-2:] == [
        "Error: my book.txt has 140,010 tokens, but there is room for 129,024.",
        "Hint: Let the model search instead: gptoss-mlx ask --in 'my book.txt' "
        "'Who'\"'\"'s the murderer?'",
    ]
    # The same text from stdin has no file that could be searched.
    done = ask("Who?", stdin=b"word " * 140_000)
    assert "Error: stdin has 140,001 tokens" in done.stderr
    assert "Hint: Save it to a file, and search that: " in done.stderr


def test_stdin_without_an_end_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not read for ever."""
    monkeypatch.setattr(question, "MAX_STDIN_BYTES", 1 << 20)
    done = ask("Hm?", stdin=b"y\n" * (1 << 20))

    assert "Error: stdin: over 1 MB." in done.stderr


def test_a_document_by_a_pipe_is_answered(folder: Path) -> None:
    """In a process of its own, without a network."""
    done = run_offline("ask", "--file", "a.pdf", "What is gpt-oss?")

    assert done.returncode == 0
    assert done.stdout.strip()
    assert "a.pdf: 15 tokens" in done.stderr
    assert done.attempts == "[]"
