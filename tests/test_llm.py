from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from scripted import Scripted, Step, call, turn, written

import gptoss_mlx
from gptoss_mlx.errors import ContextError, HarmonyError, ModelNotFoundError
from gptoss_mlx.generation.sampling import Sampling
from gptoss_mlx.harmony.messages import (
    Message,
    ToolDescription,
    ToolNamespace,
    system_message,
)
from gptoss_mlx.llm import LLM, load, load_model
from gptoss_mlx.tokenizer import load_tokenizer
from gptoss_mlx.tools.functions import Function, Functions
from gptoss_mlx.tools.tool import Tool


def llm(
    *steps: Step, context_tokens: int = 131_072, sampling: Sampling = Sampling()
) -> tuple[LLM, Scripted]:
    """A model that says what it is told to."""
    model = Scripted(*steps, context_tokens=context_tokens)
    return LLM(Path("model"), model, load_tokenizer(), sampling), model


ADD = Functions([Function(ToolDescription("add", "Adds."), lambda **numbers: "5")])


def test_a_question_gets_an_answer() -> None:
    """Text, reasoning, messages and counts; printed, it is the text."""
    ours, model = llm(turn("Hm.", "It is so."))
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
    ours, model = llm(
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


@pytest.mark.parametrize("channel", ["commentary", "remarks", "final"])
def test_a_streamed_piece_adds_to_the_answer_on_any_channel(channel: str) -> None:
    """Also where the model names an unknown one."""
    ours, _ = llm([Message("assistant", "It is so.", channel=channel)])

    assert "".join(piece.answer for piece in ours.stream("Well?")) == "It is so."


def test_a_streamed_call_adds_nothing_to_the_answer() -> None:
    """Neither its arguments, on any channel, nor what announces it."""
    steps = [
        Message("assistant", "I will add.", channel="commentary"),
        Message("assistant", "{}", channel="final", recipient="functions.add"),
    ]
    ours, _ = llm(steps, turn("Hm.", "5"))
    streamed = list(ours.stream("Well?", tools=[ADD]))

    assert "".join(piece.answer for piece in streamed) == "5"
    assert "".join(piece.text for piece in streamed) == "I will add.{}Hm.5"


def test_a_stream_that_fails_gives_what_it_held_back() -> None:
    """The commentary is all that there is of the answer."""
    said = written([Message("assistant", "So far.", channel="commentary")])[:-1]
    ours, _ = llm([*said, MemoryError("too much")])
    stream = ours.stream("Well?")

    assert "".join(next(stream).answer for _ in range(3)) == "So far."
    with pytest.raises(MemoryError):
        next(stream)


def test_openai_s_messages_are_understood() -> None:
    """The system mapping is the instructions; an assistant's text was a final answer."""
    ours, model = llm(turn("", "Two."))
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
    ours, model = llm(turn("", "Yes."), turn("", "Yes."))
    messages: list[Message | Mapping[str, object]] = [
        system_message(effort="low"),
        {"role": "system", "content": "Be brief."},
        Message("user", "Well?"),
    ]
    ours.ask(messages, tools=[ADD])
    list(ours.stream(messages, tools=[ADD]))

    assert model.prompts[0] == model.prompts[1]
    assert model.prompts[0].count("<|start|>system") == 1
    assert "Reasoning: low" in model.prompts[0]
    assert "# Instructions\n\nBe brief.\n\n# Tools" in model.prompts[0]
    assert "namespace functions {" in model.prompts[0]


def test_answering_takes_an_effort() -> None:
    """Medium by default."""
    ours, model = llm(turn("", "Yes."), turn("", "Yes."))
    question = {"role": "user", "content": "Well?"}
    ours.ask([question])
    list(ours.stream([question], effort="high"))

    assert "Reasoning: medium" in model.prompts[0]
    assert "Reasoning: high" in model.prompts[1]


def test_a_text_is_what_the_user_says() -> None:
    """In ask and in stream."""
    ours, model = llm(turn("", "Yes."), turn("", "Yes."))
    ours.ask("Well?")
    pieces = list(ours.stream("Well?"))

    assert model.prompts[0] == model.prompts[1]
    assert "<|start|>user<|message|>Well?<|end|>" in model.prompts[0]
    assert "".join(piece.text for piece in pieces) == "Yes."


@pytest.mark.parametrize("messages", [None, 3, b"Well?", {"role": "user"}, [None]])
def test_what_is_no_message_is_refused(messages: Any) -> None:
    """Before the model is asked, and the hint shows the form."""
    ours, model = llm()
    for call_it in (ours.ask, ours.stream):
        with pytest.raises(HarmonyError, match="must be") as caught:
            call_it(messages)

        assert "messages" in str(caught.value)
        assert caught.value.hint == (
            'Give each message as {"role": "user", "content": "..."}.'
        )
    assert model.prompts == []


def test_a_model_says_how_it_was_loaded() -> None:
    """Its repr is the call that loads it again."""
    assert repr(llm()[0]) == "load('model')"


def test_a_stream_that_is_left_ends_its_turn() -> None:
    """At once, and not when the garbage is collected; its tools are closed."""
    ours, _ = llm(turn("Hm.", "It is so."))
    tool = Remembering()
    stream = ours.stream([{"role": "user", "content": "Why?"}], tools=[tool])
    next(stream)
    stream.close()

    assert tool.heard == ["reset", "close"]


class Remembering(Tool):
    """Notes what it is told of its conversation."""

    instruction = ToolNamespace("notes")

    def __init__(self) -> None:
        self.heard: list[str] = []

    def process(self, call: Message) -> str:
        """Say how often it was called in this conversation."""
        self.heard.append("process")
        calls = self.heard[self.heard.index("reset") :].count("process")
        return str(calls)

    def reset(self) -> None:
        """Forget."""
        self.heard = ["reset"]

    def close(self) -> None:
        """Note it."""
        self.heard.append("close")


def test_a_stream_that_was_never_read_opens_no_tool() -> None:
    """They are reset when a turn begins; nothing must be closed then."""
    ours, _ = llm(turn("", "Yes."))
    tool = Remembering()
    del tool.heard[:]
    stream = ours.stream([Message("user", "Why?")], tools=[tool])
    del stream

    assert tool.heard == []


def test_every_tool_is_closed_whatever_another_raises() -> None:
    """The caller gets the error."""

    class Failing(Remembering):
        instruction = ToolNamespace("failing")

        def close(self) -> None:
            """Fail."""
            raise OSError("no")

    ours, _ = llm(turn("", "Yes."))
    tools = [Remembering(), Failing(), Remembering()]
    with pytest.raises(OSError, match="no"):
        ours.ask("Why?", tools=tools)

    assert [tool.heard for tool in tools] == [
        ["reset", "close"],
        ["reset"],
        ["reset", "close"],
    ]


def test_an_unrelated_question_meets_tools_that_remember_nothing() -> None:
    """Each ask is a conversation of its own, which resets its tools and closes them."""
    steps = [call("notes", "x"), turn("", "Yes."), call("notes", "x"), turn("", "Yes.")]
    ours, _ = llm(*steps)
    tool = Remembering()
    results = [
        message.text
        for _ in range(2)
        for message in ours.ask("Well?", tools=[tool]).messages
        if message.role == "tool"
    ]

    assert results == ["1", "1"]
    assert tool.heard == ["reset", "process", "close"]


def test_a_conversation_keeps_what_its_tools_remember() -> None:
    """From one question to the next, until it is cleared."""
    ours, _ = llm(*[call("notes", "x"), turn("", "Yes.")] * 3)
    tool = Remembering()
    results: list[str] = []
    with ours.conversation(tools=[tool]) as conversation:
        for _ in range(2):
            results += [m.text for m in conversation.ask("Well?").messages if m.name]
        conversation.clear()
        results += [m.text for m in conversation.ask("Well?").messages if m.name]

    assert results == ["1", "2", "1"]
    assert tool.heard[-1] == "close"


def test_a_call_says_how_its_own_tokens_are_drawn() -> None:
    """Temperature, seed and length are of that call alone."""
    ours, model = llm(*[turn("", "Yes.")] * 3, sampling=Sampling(0.5, top_p=0.9))
    ours.ask("Well?", temperature=0.0, seed=7, max_tokens=50)
    list(ours.stream([Message("user", "Well?")], seed=8))
    ours.ask("Well?")

    assert [request.sampling for request in model.requests] == [
        Sampling(0.0, top_p=0.9, seed=7),
        Sampling(0.5, top_p=0.9, seed=8),
        Sampling(0.5, top_p=0.9),
    ]
    assert [request.stops.max_tokens for request in model.requests] == [50, None, None]


def test_every_prompt_of_a_seeded_conversation_draws_otherwise() -> None:
    """A call's result is not met by the chances of the call; a new conversation is."""
    steps = [call("functions.add", "{}"), turn("", "Five."), turn("", "Six.")]
    ours, model = llm(*steps, *steps)
    for _ in range(2):
        conversation = ours.conversation(tools=[ADD], seed=7)
        conversation.ask("2 + 3?")
        conversation.ask("2 + 4?")
    seeds = [request.sampling.seed for request in model.requests]

    assert seeds[0] == 7
    assert len(set(seeds[:3])) == 3
    assert seeds[3:] == seeds[:3]


def test_a_bound_on_tokens_cuts_the_answer() -> None:
    """The answer's reason is ``length``."""
    ours, _ = llm(turn("One two three four five.", "Never."))
    answer = ours.ask("Why?", max_tokens=5)

    assert (answer.reason, answer.text) == ("length", "")
    assert answer.usage.generated_tokens == 5


def test_a_question_that_is_too_long_is_refused() -> None:
    """Before anything is computed."""
    ours, _ = llm(turn("", ""), context_tokens=100)

    with pytest.raises(ContextError):
        ours.ask("word " * 100)


def test_the_package_offers_it(tmp_path: Path) -> None:
    """``from gptoss_mlx import load`` is this function, and a wrong name is an error."""
    assert gptoss_mlx.load is load
    with pytest.raises(ModelNotFoundError):
        load(tmp_path / "nothing")


def test_sampling_can_be_chosen() -> None:
    """Otherwise it is as the model's folder says: the demo is greedy."""
    assert load("demo").sampling == Sampling(0)
    assert load("demo", sampling=Sampling(0.5, seed=1)).sampling == Sampling(0.5, seed=1)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("max_tokens", 1.5),
        ("max_tokens", "5"),
        ("max_tokens", True),
        ("max_tokens", 0),
        ("temperature", "hot"),
        ("top_p", "most"),
        ("seed", "lucky"),
        ("instructions", 5),
        ("tools", 5),
    ],
)
def test_an_argument_of_another_type_is_named_with_its_value(
    argument: str, value: Any
) -> None:
    """Before the model is asked, also where the answer would be streamed."""
    ours, model = llm()

    for method in (ours.ask, ours.stream, ours.conversation):
        with pytest.raises(ValueError, match=f"{argument} must .* but got {value!r}"):
            method("Well?", **{argument: value})
    assert model.prompts == []


def test_a_question_of_a_conversation_must_be_a_text() -> None:
    """The error names what came."""
    ours, _ = llm()

    with pytest.raises(ValueError, match="question must be a text but got 5"):
        ours.conversation().ask(5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"max_tokens must be an integer .* got 1.5"):
        ours.conversation().ask("Well?", max_tokens=1.5)  # type: ignore[arg-type]


def test_none_means_no_tools() -> None:
    """As an empty list does."""
    ours, _ = llm(turn("", "Yes."))

    assert ours.ask("Well?", tools=None).text == "Yes."


def test_a_conversation_is_shown_by_its_size() -> None:
    """In a notebook, for example."""
    ours, _ = llm()

    assert repr(ours.conversation("Well?")) == "<Conversation of 2 messages, no tools>"
    assert repr(ours.conversation(tools=[ADD])) == "<Conversation of 2 messages, 1 tool>"


def test_what_is_neither_a_name_nor_a_dtype_is_refused() -> None:
    """The error names the argument and the value."""
    with pytest.raises(ValueError, match=r"name_or_path must be .* but got 5"):
        load(5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"dtype must be .* but got 'float16'"):
        load_model("demo", dtype="float16")  # type: ignore[arg-type]
