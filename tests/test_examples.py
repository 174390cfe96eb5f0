from __future__ import annotations

import json
import runpy
import subprocess
import sys
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


def test_asking_from_python() -> None:
    """The example prints both answers, whole."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "ask.py")],
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.splitlines() == [
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
