"""Questions answered from files: recorded-style conversations, end to end."""

from __future__ import annotations

import json
import re
from pathlib import Path
from unittest.mock import patch

import pytest
from evidence import Note
from program import Done, run_here
from recorded_talks import HEATING, PDF, QUESTION, TALKS, Talk
from scripted import Scripted
from small_library import answer, small_library

from gptoss_mlx.library.catalog import names, remove
from gptoss_mlx.library.library import Library
from gptoss_mlx.llm import LLM
from gptoss_mlx.tokenizer import load_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documents, indexed before."""
    folder = tmp_path_factory.mktemp("library") / "docs"
    small_library(folder).close()
    return folder


def ask(talk: Talk, folder: Path, *options: str) -> tuple[Done, Scripted]:
    """Ask the question of a talk."""
    source = Scripted(*talk.steps, forever=talk.forever)
    llm = LLM(Path("/models/gpt-oss-20b-q8"), source, load_tokenizer())
    chosen = ["--in", str(folder), "-m", "demo", *talk.options, *options]
    with patch("gptoss_mlx.llm.load", lambda *_, **__: llm):
        return run_here("ask", QUESTION, *chosen), source


def test_there_are_at_least_twenty() -> None:
    """Malformed ones among them."""
    assert len(TALKS) >= 20


@pytest.mark.parametrize("name", TALKS)
def test_a_recorded_conversation_ends_with_the_right_lines(
    name: str, folder: Path, note: Note
) -> None:
    """Answer, sources, what the tools said, and exit status."""
    talk = TALKS[name]
    done, _ = ask(talk, folder, "--json")
    told = json.loads(done.stdout)
    citations = told["citations"]

    assert done.returncode == talk.status
    assert told["answer"] == talk.shown
    assert [
        (each["document"], each["first_line"], each["last_line"])
        for each in citations
        if each["verified"]
    ] == list(talk.verified)
    problems = [each["problem"] for each in citations if not each["verified"]]
    assert len(problems) == len(talk.problems)
    assert all(words in said for said, words in zip(problems, talk.problems, strict=True))
    results = [m["content"] for m in told["messages"] if m["role"] == "tool"]
    if talk.results is not None:
        texts = [content[0]["text"] for content in results]
        assert len(texts) == len(talk.results)
        assert all(w in text for text, w in zip(texts, talk.results, strict=True))
    assert told["passages"]
    assert told["passages"][0]["document"] == HEATING or name == "two searches"
    note("talks", 1)


@pytest.mark.parametrize("name", TALKS)
def test_a_recorded_conversation_is_printed_with_its_sources(
    name: str, folder: Path
) -> None:
    """Each with file, line and words; without one that holds, the passages follow."""
    talk = TALKS[name]
    done, _ = ask(talk, folder)
    text, _, sources = done.stdout.partition("\nSources:\n")

    assert done.returncode == talk.status
    assert done.stdout.startswith(talk.shown)
    for number, (document, first, last) in enumerate(talk.verified, start=1):
        lines = f"{first}" if first == last else f"{first}-{last}"
        page = r" \(page \d\)" if document == PDF else ""
        assert re.search(
            rf"^\[\d+\] {re.escape(document)}:{lines}{page}  “.+”$", sources, re.MULTILINE
        ), number
    for problem in talk.problems:
        assert re.search(rf"^\[\d+\?\] .*unverified: .*{problem}", sources, re.MULTILINE)
    shows_passages = "Passages found:\n" in done.stdout
    assert shows_passages == (talk.status == 3)
    if shows_passages:
        assert f"{HEATING}:9  The flat › Heating" in done.stdout
        assert "    The landlord services the heating each May." in done.stdout
    assert "【" not in text


def test_the_question_s_own_results_stand_before_the_answer(folder: Path) -> None:
    """In the form of a search that the model made; the instructions ask for citations."""
    _, source = ask(TALKS["open the first result"], folder)
    prompt = source.prompts[0]

    assert (
        f"<|start|>user<|message|>{QUESTION}<|end|>"
        "<|start|>assistant to=browser.search<|channel|>analysis code<|message|>"
        f'{{"query": "{QUESTION}"}}<|call|>'
        "<|start|>browser.search to=assistant<|channel|>analysis<|message|>[0] "
    ) in prompt
    assert "cite them after each statement" in prompt
    assert "Tool for browsing." in prompt


def test_a_user_s_own_instructions_stay(folder: Path) -> None:
    """They come first."""
    _, source = ask(TALKS["no citation"], folder, "--system", "Be brief.")

    assert (
        "# Instructions\n\nBe brief.\n\nAnswer from the user's files" in source.prompts[0]
    )


def test_an_answer_that_was_cut_is_an_error_after_its_passages(folder: Path) -> None:
    """What was found is shown all the same."""
    talk = Talk([answer("")], "")
    done, _ = ask(talk, folder, "--max-tokens", "3")

    assert done.returncode == 1
    assert "Passages found:" in done.stdout
    assert "still reasoning after 3 tokens" in done.stderr


def test_a_model_that_cannot_read_files_is_not_asked(folder: Path) -> None:
    """The demo shows the passages, and says why and what to do."""
    done = run_here("ask", QUESTION, "--in", str(folder), "-m", "demo")

    assert done.returncode == 3
    assert done.stdout.startswith(f"Passages found:\n{HEATING}:9  The flat › Heating\n")
    assert "The demo model cannot read files." in done.stderr
    assert "20b" in done.stderr


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (["/nowhere/at/all"], "neither a library nor a file or folder"),
        (["unknown-name"], "neither a library nor a file or folder"),
        (["/nowhere", "{folder}"], "Paths, or one library, must be named"),
    ],
)
def test_what_is_not_there_is_an_error(
    chosen: list[str], message: str, folder: Path
) -> None:
    """Before a model is loaded."""
    options = [text.format(folder=folder) for each in chosen for text in ("--in", each)]
    with patch("gptoss_mlx.llm.load", side_effect=AssertionError):
        done = run_here("ask", QUESTION, "-m", "demo", *options)

    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr


def test_a_library_is_named_too(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What also lies in the current folder is that."""
    monkeypatch.chdir(tmp_path)
    talk = TALKS["open the first result"]
    source = Scripted(*talk.steps)
    llm = LLM(Path("/models/x"), source, load_tokenizer())
    with patch("gptoss_mlx.llm.load", lambda *_, **__: llm):
        done = run_here("ask", QUESTION, "--in", "docs", "-m", "demo")

    assert done.returncode == 0
    assert f"[1] {HEATING}:9  “" in done.stdout


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    """Each question finds the files as they are."""
    folder = tmp_path / "changing"
    small_library(folder, {"a.txt": "The heating is old.\n"}).close()
    (folder / "b.txt").write_text("Jones services the heating each week.\n")
    talk = Talk([answer("Jones【0†L4】.")], "")
    done, _ = ask(talk, folder)

    assert "[1] changing/b.txt:1  “Jones services" in done.stdout


@pytest.fixture
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a home of its own below it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GPTOSS_MLX_HOME", str(tmp_path / "home"))
    return tmp_path


def ask_demo(*options: str) -> Done:
    """Ask the demo model."""
    return run_here("ask", QUESTION, "-m", "demo", *options)


def test_a_file_that_cannot_be_read_is_an_error_and_leaves_no_library(
    empty_home: Path,
) -> None:
    """Of a folder, the first one is named."""
    (empty_home / "docs").mkdir()
    (empty_home / "docs" / "broken.pdf").write_bytes(b"%PDF-1.4 nothing")
    for path in ("docs/broken.pdf", "docs", "/dev/zero"):
        done = ask_demo("--in", path)

        assert (done.returncode, done.stdout) == (1, "")
        assert "a device" in done.stderr or "broken.pdf: is damaged" in done.stderr
        assert names() == []


def test_what_is_left_out_beside_others_is_said(empty_home: Path) -> None:
    """A file that was named, each time; those of a folder once, and how to list them."""
    (empty_home / "docs").mkdir()
    (empty_home / "docs" / "a.txt").write_text("The heating is old.\n")
    (empty_home / "docs" / "x.bin").write_bytes(b"\0")
    (empty_home / "y.bin").write_bytes(b"\0")
    first = ask_demo("--in", "docs").stderr
    listed = "1 file is left out: gptoss-mlx library list --skipped docs"
    assert listed in first
    assert "left out" not in ask_demo("--in", "docs").stderr
    for _ in range(2):
        done = ask_demo("--in", "docs/a.txt", "--in", "y.bin")
        assert f"{empty_home / 'y.bin'} is left out: a binary file" in done.stderr


def test_a_question_without_a_hit_does_not_speak_of_passages(folder: Path) -> None:
    """It says in how many documents nothing was found."""
    done = run_here("ask", "zzzqqq", "--in", str(folder), "-m", "demo")

    assert (done.returncode, done.stdout) == (3, "")
    assert re.search(r"Nothing was found in the \d documents\.", done.stderr)
    assert "passages" not in done.stderr


@pytest.mark.parametrize(("typed", "meant"), [("doc", "docs"), ("paper", "papers")])
def test_the_path_or_library_that_was_meant_is_named(
    typed: str, meant: str, empty_home: Path
) -> None:
    """A file in the folder, or a library's name."""
    small_library(empty_home / "docs", {"a.txt": "The heating is old.\n"}).close()
    Library(empty_home / "docs", name="papers").close()
    remove("docs")
    done = ask_demo("--in", typed)

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"Hint: Did you mean {meant}?"


def test_an_empty_path_is_refused(empty_home: Path) -> None:
    """A shell's variable without a value is not the current folder."""
    for option in ("--in", "--file"):
        done = ask_demo(option, "")

        assert (done.returncode, done.stdout) == (1, "")
        assert "A path must not be empty." in done.stderr
