"""docs/library.md is true: what it shows is what happens."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from program import run_here
from scripted import Scripted, turn
from shown_sessions import ROOT, sessions, shell
from small_library import answer, browse

from gptoss_mlx.demo.folder import open_demo
from gptoss_mlx.llm import LLM
from gptoss_mlx.store import models_folder
from gptoss_mlx.tokenizer import load_tokenizer

DOCUMENT = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")


def without_times(text: str) -> str:
    """Replace what differs each time: seconds, dates, and white space at line ends."""
    text = re.sub(r"in \d+\.\d s", "in 0.1 s", text)
    text = re.sub(r"updated \d+-\d+-\d+ \d+:\d+", "updated 2026-11-29 11:20", text)
    return re.sub(r" +$", "", text, flags=re.MULTILINE)


def test_commands_print_what_the_document_shows(tmp_path: Path) -> None:
    """In their order, in a home without a library; stderr is what a terminal shows too."""
    home = {"GPTOSS_MLX_HOME": str(tmp_path)}
    # The demo model takes seconds to make, and says so.
    open_demo(lambda line: None)
    (tmp_path / "models").symlink_to(models_folder())

    assert len(sessions(DOCUMENT)) >= 7
    for command, output in sessions(DOCUMENT):
        shown = shell(command, stderr=True, environment=home)
        assert without_times(shown) == without_times(output), command


@pytest.mark.parametrize("command", sorted(set(re.findall(r"`library (\w+)", DOCUMENT))))
def test_commands_that_are_named_exist(command: str) -> None:
    """Each has its own help text."""
    assert run_here("library", command, "--help").returncode == 0


@pytest.fixture
def code(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The Python code, to be run in the repository's folder."""
    monkeypatch.chdir(ROOT)
    return re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)


def test_the_python_code_searches(
    code: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As it is; it makes the library."""
    monkeypatch.setenv("GPTOSS_MLX_HOME", str(tmp_path))
    exec(code[0], {})  # noqa: S102 - it is our own document

    assert capsys.readouterr().out.splitlines() == [
        "lease.md:14 ('Lease of 12 March 2024', 'Heating')",
        "handover.txt:4 ()",
        "The tenant pays 85 euros a month in advance for heating. Ruth Adler reads the "
        "meters in June",
    ]


def test_the_python_code_attaches(
    code: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The model reads the file before the question."""
    model = Scripted(turn("", "Models."))
    llm = LLM(Path("demo"), model, load_tokenizer())
    monkeypatch.setattr("gptoss_mlx.llm.load", lambda name: llm)
    exec(code[1], {})  # noqa: S102 - it is our own document

    assert capsys.readouterr().out.splitlines() == ["198 tokens", "Models."]
    assert "must give a reason.\n```\n\nWhat is gpt-oss?<|end|>" in model.prompts[0]


SAID = (
    'The landlord "has it repaired within three days"【1†L21】; after that the rent falls '
    "by a fifth【1†L21-L22】."
)


def model_saying(answered: str) -> LLM:
    """A model that opens what was found first, and answers."""
    model = Scripted(browse("open", id=0), answer(answered))
    return LLM(Path("20b"), model, load_tokenizer())


def test_an_answer_looks_as_the_document_shows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answer and source, and a source that is not verified."""
    monkeypatch.setenv("GPTOSS_MLX_HOME", str(tmp_path))
    monkeypatch.chdir(ROOT)
    wrong = SAID.replace("three days", "two days").replace("L21】", "L15】")
    shown = []
    for text in (SAID, wrong):
        llm = model_saying(text)
        monkeypatch.setattr("gptoss_mlx.llm.load", lambda *_, llm=llm, **__: llm)
        words = ["demo", "--in", "examples/papers", "Who repairs the boiler?"]
        shown.append(run_here("ask", *words))

    good, bad = shown
    indented = re.sub("^(?=.)", "    ", good.stdout, flags=re.MULTILINE)
    assert f'boiler?"\n\n{indented}\n' in DOCUMENT
    assert (good.returncode, bad.returncode) == (0, 0)
    assert "[1?] papers/lease.md:14  “The tenant pays 85 euros a month" in bad.stdout
    assert "unverified: the quoted words are not in these lines" in bad.stdout


def test_the_python_code_asks(
    code: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It prints the answer, and the places that it cites."""
    monkeypatch.setenv("GPTOSS_MLX_HOME", str(tmp_path))
    monkeypatch.setattr("gptoss_mlx.llm.load", lambda name: model_saying(SAID))
    exec(code[2], {})  # noqa: S102 - it is our own document

    assert capsys.readouterr().out.splitlines() == [
        'The landlord "has it repaired within three days"[1]; after that the rent falls '
        "by a fifth[1].",
        "[1] papers/lease.md 18 True",
    ]
