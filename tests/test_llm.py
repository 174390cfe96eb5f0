from __future__ import annotations

import datetime
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from scripted import Scripted, Step, call, turn

import gptoss_mlx
from gptoss_mlx.conversation.turn import TurnEvent
from gptoss_mlx.errors import ContextError, ModelNotFoundError
from gptoss_mlx.generation.sampling import Sampling
from gptoss_mlx.harmony.messages import Message, ToolDescription, system_message
from gptoss_mlx.llm import LLM, load
from gptoss_mlx.tokenizer import load_tokenizer
from gptoss_mlx.tools.functions import Function, Functions


def runner(*steps: Step, context_tokens: int = 131_072) -> tuple[LLM, Scripted]:
    """A runner whose model says what it is told to."""
    model = Scripted(*steps, context_tokens=context_tokens)
    return LLM(Path("model"), cast(Any, model), load_tokenizer()), model


ADD = Functions([Function(ToolDescription("add", "Adds."), lambda **numbers: "5")])


def test_a_question_gets_an_answer() -> None:
    """Text, reasoning, messages and counts; printed, it is the text."""
    ours, model = runner(turn("Hm.", "It is so."))
    answer = ours.ask("Why?", effort="high", instructions="Be brief.")

    assert str(answer) == answer.text == "It is so."
    assert answer.reasoning == "Hm."
    assert answer.reason == "stop"
    assert answer.messages == tuple(turn("Hm.", "It is so."))
    assert "Reasoning: high" in model.prompts[0]
    assert "# Instructions\n\nBe brief.<|end|>" in model.prompts[0]
    assert f"Current date: {datetime.date.today().isoformat()}" in model.prompts[0]


def test_an_answer_with_tools_tells_all_that_happened() -> None:
    """The call and its result are among the messages, the text is the final one."""
    ours, model = runner(
        call("functions.add", "{}", thought="Add them."), turn("Good.", "Five.")
    )
    answer = ours.ask("What is 2 + 3?", tools=[ADD])

    assert answer.text == "Five."
    assert answer.reasoning == "Add them.\n\nGood."
    assert [m.role for m in answer.messages] == [
        "assistant",
        "assistant",
        "tool",
        "assistant",
        "assistant",
    ]
    assert "namespace functions {" in model.prompts[0]
    assert "Add them." in model.prompts[1]


def test_openai_s_messages_are_understood() -> None:
    """The system mapping is the instructions; an assistant's text was a final answer."""
    ours, model = runner(turn("", "Two."))
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "First?"},
        {"role": "assistant", "content": "One."},
        {"role": "user", "content": "Second?"},
    ]
    pieces = [d.text for d in ours.stream(messages) if d.channel == "final"]

    assert pieces == ["Two", "."]
    assert model.prompts[0].startswith("<|start|>system<|message|>You are ChatGPT")
    assert model.prompts[0].partition("<|start|>developer")[2] == (
        "<|message|># Instructions\n\nBe brief.<|end|>"
        "<|start|>user<|message|>First?<|end|>"
        "<|start|>assistant<|channel|>final<|message|>One.<|end|>"
        "<|start|>user<|message|>Second?<|end|><|start|>assistant"
    )
    assert len(messages) == 4


def test_a_system_message_of_the_caller_stays_in_front() -> None:
    """No second one is made; instructions and tools follow it."""
    ours, model = runner(turn("", "Yes."), turn("", "Yes."))
    messages: list[Message | Mapping[str, object]] = [
        system_message(effort="low"),
        {"role": "system", "content": "Be brief."},
        Message("user", "Well?"),
    ]
    ours.answer(messages, tools=[ADD])
    list(ours.stream(messages, tools=[ADD]))

    assert model.prompts[0] == model.prompts[1]
    assert model.prompts[0].count("<|start|>system") == 1
    assert "Reasoning: low" in model.prompts[0]
    assert "# Instructions\n\nBe brief.\n\n# Tools" in model.prompts[0]
    assert "namespace functions {" in model.prompts[0]


def test_answering_takes_an_effort() -> None:
    """Medium if there is none."""
    ours, model = runner(turn("", "Yes."), turn("", "Yes."))
    question = {"role": "user", "content": "Well?"}
    ours.answer([question])
    list(ours.stream([question], effort="high"))

    assert "Reasoning: medium" in model.prompts[0]
    assert "Reasoning: high" in model.prompts[1]


def test_a_stream_that_is_left_ends_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, and not when the garbage is collected."""
    ours, _ = runner(turn("Hm.", "It is so."))
    begin, turns = ours.turn, []

    def begun(messages: list[Message], **options: Any) -> Generator[TurnEvent]:
        turns.append(begin(messages, **options))
        return turns[0]

    monkeypatch.setattr(ours, "turn", begun)
    stream = ours.stream([{"role": "user", "content": "Why?"}])
    next(stream)
    stream.close()

    with pytest.raises(StopIteration):
        next(turns[0])


def test_a_bound_on_tokens_cuts_the_answer() -> None:
    """The answer says so."""
    ours, _ = runner(turn("One two three four five.", "Never."))
    answer = ours.ask("Why?", max_tokens=5)

    assert (answer.reason, answer.text) == ("length", "")
    assert answer.usage.generated_tokens == 5


def test_a_question_that_is_too_long_is_refused() -> None:
    """Before anything is computed."""
    ours, _ = runner(turn("", ""), context_tokens=100)

    with pytest.raises(ContextError):
        ours.ask("word " * 100)


def test_the_package_offers_it(tmp_path: Path) -> None:
    """``from gptoss_mlx import load`` is this function, and a wrong name is an error."""
    assert gptoss_mlx.load is load
    with pytest.raises(ModelNotFoundError):
        load(tmp_path / "nothing")


def test_sampling_can_be_chosen() -> None:
    """Otherwise it is as the model's folder says: the demo takes the likeliest token."""
    assert load("demo").source.sampling.temperature == 0
    assert load("demo", sampling=Sampling(0.5, seed=1)).source.sampling.seed == 1
