from __future__ import annotations

import json
from pathlib import Path

import pytest
from program import Done, run_here, run_offline
from scripted import Scripted, turn
from typer.testing import CliRunner

from gptoss_mlx.cli.app import app
from gptoss_mlx.demo.questions import TOUR
from gptoss_mlx.llm import LLM
from gptoss_mlx.tokenizer import load_tokenizer

SOURCE = Path(__file__).parents[2] / "examples" / "demo_model" / "dialogues.json"
ANSWERS = {
    question: dialogue["answer"]
    for dialogue in json.loads(SOURCE.read_text(encoding="utf-8"))["dialogues"]
    for question in dialogue["questions"]
}


def chat(*arguments: str, questions: bytes) -> Done:
    """Run the command with its questions on stdin."""
    return run_here("chat", *arguments, stdin=questions)


def test_a_question_by_pipe_gets_one_line_of_answer() -> None:
    """With no model on the machine, nor a network, the demo answers, and nothing else."""
    done = run_offline("chat", stdin="What is gpt-oss?\n")

    assert done.returncode == 0
    assert done.stdout == ANSWERS["What is gpt-oss?"] + "\n"
    assert done.attempts == "[]"


def test_each_line_is_a_question() -> None:
    """Empty lines are none, and bytes that are no UTF-8 do no harm."""
    done = chat("demo", questions=b"What is harmony?\n\n\xff\xfe?\nHello")
    lines = done.stdout.splitlines()

    assert done.returncode == 0
    assert len(lines) == 3
    assert lines[0] == ANSWERS["What is harmony?"]
    assert lines[2] == ANSWERS["Hello"]


def test_without_a_question_there_is_a_tour() -> None:
    """Four real turns without a network: questions on stderr, answers on stdout."""
    done = run_offline("chat", "demo")
    answers = done.stdout.splitlines()

    assert done.returncode == 0
    assert done.attempts == "[]"
    assert len(answers) == len(TOUR)
    for question, answer in zip(TOUR, answers, strict=True):
        assert question.expected in answer
        assert f"> {question.question}\n" in done.stderr


def test_a_model_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """Exit 1, the error and its hint on stderr."""
    done = chat(str(tmp_path / "nothing"), questions=b"Hello\n")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: ")
    assert "Hint: " in done.stderr


def test_a_question_without_room_is_an_error_in_the_end() -> None:
    """The other lines are answered; stdout has a line for each."""
    done = chat("demo", questions=b"word " * 140_000 + b"\nWhat is harmony?\n")

    assert done.returncode == 1
    assert done.stdout == f"\n{ANSWERS['What is harmony?']}\n"
    assert done.stderr.startswith("Error: A conversation must have under ")
    assert "Traceback" not in done.stderr


def test_the_same_seed_gives_the_same_answer() -> None:
    """Also where the answers differ otherwise."""
    wild = ("--temperature", "1.5", "--max-tokens", "60")
    answers = {
        chat("--seed", seed, *wild, questions=b"Hello\n").stdout for seed in ("1", "1", "2")
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
    assert arguments[0] in done.stderr
    assert "Traceback" not in done.stderr


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
