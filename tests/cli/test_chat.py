from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from scripted import Scripted, turn
from typer.testing import CliRunner

from gptoss_mlx.cli.app import app
from gptoss_mlx.demo.questions import TOUR
from gptoss_mlx.llm import LLM
from gptoss_mlx.tokenizer import load_tokenizer

SOURCE = Path(__file__).parents[2] / "examples" / "demo_dialogues.json"
ANSWERS = {
    question: dialogue["answer"]
    for dialogue in json.loads(SOURCE.read_text(encoding="utf-8"))["dialogues"]
    for question in dialogue["questions"]
}


def chat(*arguments: str, questions: bytes) -> subprocess.CompletedProcess[bytes]:
    """Run the program with its questions on stdin."""
    return subprocess.run(
        [sys.executable, "-m", "gptoss_mlx", "chat", *arguments],
        input=questions,
        capture_output=True,
        timeout=120,
        check=False,
    )


def test_a_question_by_pipe_gets_one_line_of_answer() -> None:
    """With no model on the machine the demo answers, and stdout holds nothing else."""
    done = chat(questions=b"What is gpt-oss?\n")

    assert done.returncode == 0
    assert done.stdout.decode() == ANSWERS["What is gpt-oss?"] + "\n"


def test_each_line_is_a_question() -> None:
    """Empty lines are none, and bytes that are no UTF-8 do no harm."""
    done = chat("demo", questions=b"What is harmony?\n\n\xff\xfe?\nWhat is MXFP4?")
    lines = done.stdout.decode().splitlines()

    assert done.returncode == 0
    assert len(lines) == 3
    assert lines[0] == ANSWERS["What is harmony?"]
    assert lines[2] == ANSWERS["What is MXFP4?"]


def test_without_a_question_there_is_a_tour() -> None:
    """Four real turns: questions on stderr, answers on stdout."""
    done = chat("demo", questions=b"")
    answers = done.stdout.decode().splitlines()

    assert done.returncode == 0
    assert len(answers) == len(TOUR)
    for question, answer in zip(TOUR, answers, strict=True):
        assert question.expected in answer
        assert f"> {question.question}\n" in done.stderr.decode()


def test_a_model_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """Exit 1, the error and its hint on stderr."""
    done = chat(str(tmp_path / "nothing"), questions=b"Hello\n")

    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode().startswith("Error: ")
    assert "Hint: " in done.stderr.decode()


def test_a_question_without_room_is_an_error_in_the_end() -> None:
    """The other lines are answered; stdout has a line for each."""
    done = chat("demo", questions=b"word " * 140_000 + b"\nWhat is harmony?\n")

    assert done.returncode == 1
    assert done.stdout.decode() == f"\n{ANSWERS['What is harmony?']}\n"
    assert done.stderr.startswith(b"Error: A conversation must have under ")
    assert b"Traceback" not in done.stderr


def test_the_same_seed_gives_the_same_answer() -> None:
    """Also where the answers differ otherwise."""
    answers = {
        chat("--seed", seed, "--temperature", "1.5", questions=b"Hello\n").stdout
        for seed in ("1", "1", "2")
    }

    assert len(answers) == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("--effort", "much"),
        ("--temperature", "-1"),
        ("--temperature", "nan"),
        ("--temperature", "inf"),
        ("--seed", "-1"),
        ("--seed", "x"),
    ],
)
def test_an_option_out_of_range_is_bad_usage(arguments: tuple[str, str]) -> None:
    """Exit 2, before a model is loaded."""
    done = chat(*arguments, questions=b"Hello\n")

    assert done.returncode == 2
    assert arguments[0].encode() in done.stderr
    assert b"Traceback" not in done.stderr


def test_the_tour_s_questions_and_answers_go_their_own_ways(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Questions to stderr, answers to stdout, a line each; every question is the first."""
    model = Scripted(*(turn("Hm.", f"Answer\n{i}.") for i in range(4)))
    llm = LLM(Path("demo"), model, load_tokenizer())
    monkeypatch.setattr("gptoss_mlx.llm.load", lambda *_, **__: llm)
    done = CliRunner().invoke(app, ["chat", "demo"], input="")

    assert done.stderr == "".join(f"> {t.question}\n" for t in TOUR)
    assert done.stdout == "Answer 0.\nAnswer 1.\nAnswer 2.\nAnswer 3.\n"
    assert all(prompt.count("<|start|>user") == 1 for prompt in model.prompts)
