from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
from scripted import Scripted, call, turn

from gptoss_mlx.llm import LLM
from gptoss_mlx.tokenizer import load_tokenizer

EXAMPLES = Path(__file__).parents[1] / "examples"
DIALOGUES = EXAMPLES / "demo_model" / "dialogues.json"
ANSWERS = {
    question: dialogue["answer"]
    for dialogue in json.loads((EXAMPLES / "demo_model" / "dialogues.json").read_text())[
        "dialogues"
    ]
    for question in dialogue["questions"]
}


Demo = Callable[[str], str]


@pytest.fixture
def demo(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Demo:
    """Runs an example where only the demo model is here, and returns what it prints."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))

    def run(name: str) -> str:
        runpy.run_path(str(EXAMPLES / name))
        return capsys.readouterr().out

    return run


def test_asking_from_python(demo: Demo) -> None:
    """The example prints both answers, whole."""
    assert demo("ask.py").splitlines() == [
        ANSWERS["What is gpt-oss?"],
        ANSWERS["What is MXFP4?"],
    ]


def test_calling_a_function(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The example runs what the model calls; the model is one that does as it is told."""
    told = Scripted(call("functions.temperature", '{"city":"Oslo"}'), turn("", "Yes."))
    llm = LLM(Path("20b"), told, load_tokenizer())
    monkeypatch.setattr("gptoss_mlx.load", {"20b": llm}.__getitem__, raising=False)
    runpy.run_path(str(EXAMPLES / "tool_call.py"))

    assert capsys.readouterr().out.splitlines() == [
        'functions.temperature: {"city":"Oslo"}',
        'assistant: {"city": "Oslo", "celsius": 4}',
        "Yes.",
    ]
    assert 'city: "Oslo" | "Rome",' in told.prompts[0]


def test_asking_with_messages(demo: Demo) -> None:
    """The second question follows the first answer."""
    first, _ = demo("messages.py").splitlines()

    assert first == ANSWERS["What is gpt-oss?"]


def test_streaming(demo: Demo) -> None:
    """The reasoning comes first, and each has a heading."""
    empty, thought, said = demo("stream.py").splitlines()

    assert (empty, thought[:11]) == ("", "[analysis] ")
    assert said == f"[answer] {ANSWERS['What is MXFP4?']}"


def test_loading_by_name(demo: Demo) -> None:
    """Where the model is not here, its error and hint are printed, and the demo answers."""
    error, hint, name, answer = demo("load_by_name.py").splitlines()

    assert error == "openai/gpt-oss-20b is not downloaded yet."
    assert hint == "Hint: gptoss-mlx download 20b"
    assert name.endswith("demo')")
    assert answer == ANSWERS["What is gpt-oss?"]


def test_reading_the_usage(demo: Demo) -> None:
    """Five lines, with numbers."""
    ended, prompt, generated, reasoning, speed = demo("usage.py").splitlines()

    assert ended == "ended: stop"
    for line in (prompt, generated, reasoning, speed):
        assert any(character.isdigit() for character in line)
