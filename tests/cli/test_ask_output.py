from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from scripted import Scripted, Step, turn
from typer.testing import CliRunner, Result

from gptoss_mlx.cli.app import app
from gptoss_mlx.errors import AnswerError
from gptoss_mlx.harmony.messages import Message
from gptoss_mlx.llm import LLM
from gptoss_mlx.tokenizer import load_tokenizer


def ask(monkeypatch: pytest.MonkeyPatch, step: Step, *options: str) -> Result:
    """Ask a model that says this."""
    llm = LLM(Path("model"), Scripted(step), load_tokenizer())
    monkeypatch.setattr("gptoss_mlx.llm.load", lambda *names, **options: llm)
    return CliRunner().invoke(app, ["ask", "Why?", *options], input="")


def finals(*texts: str) -> list[Message]:
    """A step of several answers."""
    return [Message("assistant", text, channel="final") for text in texts]


@pytest.mark.parametrize(
    ("texts", "printed"),
    [
        (["So."], "So.\n"),
        (["So.\n"], "So.\n"),
        (["one", "two"], "one\n\ntwo\n"),
        (["\ud83d alone"], "? alone\n"),
    ],
)
def test_answers_end_with_one_line_end(
    monkeypatch: pytest.MonkeyPatch, texts: list[str], printed: str
) -> None:
    """However many there are, and whatever is in them."""
    done = ask(monkeypatch, finals(*texts))

    assert done.exit_code == 0
    assert done.stdout.replace("\ufffd", "?") == printed


def test_json_has_the_text_that_would_be_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two answers are parted in the same way."""
    done = ask(monkeypatch, finals("one", "two"), "--json")

    assert json.loads(done.stdout)["answer"] == "one\n\ntwo"


def test_a_channel_that_nobody_knows_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in chat."""
    step = [Message("assistant", "So.", channel="finale")]

    assert ask(monkeypatch, step).stdout == "So.\n"


def test_no_answer_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reasoning alone is none; the hint says how to see what there was."""
    done = ask(monkeypatch, turn("Hm.", ""))

    assert isinstance(done.exception, AnswerError)
    assert "ended without one after" in str(done.exception)
    assert done.exception.hint.endswith("--json")
    assert done.stdout == ""


@pytest.mark.parametrize("command", ["ask", "chat"])
def test_output_is_kept_while_the_model_is_loaded(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no longer: then keys are read."""
    heard: list[str] = []

    @contextmanager
    def output_is_kept() -> Iterator[None]:
        heard.append("kept")
        yield
        heard.append("not kept")

    def load(*names: object, **options: object) -> LLM:
        heard.append("loaded")
        return LLM(Path("model"), Scripted(turn("", "So.")), load_tokenizer())

    monkeypatch.setattr("gptoss_mlx.chat.keys.output_is_kept", output_is_kept)
    monkeypatch.setattr("gptoss_mlx.llm.load", load)
    arguments = ["ask", "Why?"] if command == "ask" else ["chat", "demo"]
    done = CliRunner().invoke(app, arguments, input="Why?")

    assert done.stdout == "So.\n"
    assert heard == ["kept", "loaded", "not kept"]
