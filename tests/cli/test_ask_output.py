from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

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
    """For any number of answers, and any text in them."""
    done = ask(monkeypatch, finals(*texts))

    assert done.exit_code == 0
    assert done.stdout.replace("\ufffd", "?") == printed


def test_json_has_the_text_that_would_be_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two answers are parted in the same way."""
    done = ask(monkeypatch, finals("one", "two"), "--json")

    assert json.loads(done.stdout)["answer"] == "one\n\ntwo"


def test_a_channel_that_nobody_knows_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same as in chat."""
    step = [Message("assistant", "So.", channel="finale")]

    assert ask(monkeypatch, step).stdout == "So.\n"


def test_no_answer_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reasoning alone is none; the hint says how to see what there was."""
    done = ask(monkeypatch, turn("Hm.", ""))

    assert isinstance(done.exception, AnswerError)
    assert "ended without an answer after" in str(done.exception)
    assert done.exception.hint.endswith("--json")
    assert done.stdout == ""


@pytest.mark.parametrize("command", ["ask", "chat"])
def test_output_is_kept_while_the_model_is_loaded(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only while it loads: afterwards keys are read."""
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


@pytest.mark.parametrize(
    ("words", "model", "question"),
    [
        (["What is it?"], None, "What is it?"),
        (["What", "is", "it"], None, "What is it"),
        (["20b", "What is it?"], "20b", "What is it?"),
        (["openai/gpt-oss-20b", "Why?"], "openai/gpt-oss-20b", "Why?"),
        (["-m", "demo", "20b", "Why?"], "demo", "20b Why?"),
        (["20b", "or", "120b"], None, "20b or 120b"),
        (["Hello", "there"], None, "Hello there"),
    ],
)
def test_a_question_needs_no_quotes_and_may_follow_a_model(
    words: list[str], model: str | None, question: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model in front is one if a single argument follows."""
    told = Scripted(turn("", "Yes."))
    named: list[object] = []

    def open_model(name: object, say: object) -> object:
        named.append(name)
        return SimpleNamespace()

    def plan(checkpoint: object, **options: object) -> object:
        return SimpleNamespace(longest_context_tokens=131_072)

    def load(checkpoint: object, **options: object) -> LLM:
        return LLM(Path("model"), told, load_tokenizer())

    monkeypatch.setattr("gptoss_mlx.model_choice.open_model", open_model)
    monkeypatch.setattr("gptoss_mlx.model.loading.plan_checkpoint", plan)
    monkeypatch.setattr("gptoss_mlx.llm.load", load)
    done = CliRunner().invoke(app, ["ask", *words], input="")

    assert done.exit_code == 0
    assert named == [model]
    assert f"<|start|>user<|message|>{question}<|end|>" in told.prompts[0]


def test_the_reasoning_goes_to_stderr_if_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Stdout has only the answer."""
    done = ask(monkeypatch, turn("Let me \x1b[1mthink.", "So."), "--show-reasoning")

    assert done.stdout == "So.\n"
    assert "Let me [1mthink." in done.stderr


def test_sampling_is_as_the_options_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """The options are the same as in chat."""
    told = Scripted(turn("", "Yes."))
    llm = LLM(Path("model"), told, load_tokenizer())
    monkeypatch.setattr("gptoss_mlx.llm.load", lambda *names, **options: llm)
    options = ["--top-p", "0.5", "--temperature", "0.7", "--max-tokens", "9", "-s", "Be."]
    CliRunner().invoke(app, ["ask", "Why?", *options], input="")

    request = told.requests[0]
    assert (request.sampling.top_p, request.sampling.temperature) == (0.5, 0.7)
    assert request.stops.max_tokens == 9
    assert "# Instructions\n\nBe." in told.prompts[0]
