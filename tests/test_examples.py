from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest
from scripted import Scripted, call, turn

from gptoss_mlx.llm import LLM
from gptoss_mlx.tokenizer import load_tokenizer

EXAMPLES = Path(__file__).parents[1] / "examples"
ANSWERS = {
    question: dialogue["answer"]
    for dialogue in json.loads((EXAMPLES / "demo_dialogues.json").read_text())["dialogues"]
    for question in dialogue["questions"]
}


def test_asking_from_python(capsys: pytest.CaptureFixture[str]) -> None:
    """The example prints both answers, whole."""
    runpy.run_path(str(EXAMPLES / "ask.py"))

    assert capsys.readouterr().out.splitlines() == [
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
