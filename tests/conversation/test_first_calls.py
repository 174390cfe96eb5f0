"""Calls that are made before the model writes."""

from __future__ import annotations

import pytest
from played_turns import Answering, check_sound, said
from scripted import Scripted, call, turn

from gptoss_mlx.conversation.conversation import Conversation
from gptoss_mlx.conversation.turn_events import ToolCall, ToolResult, TurnEnd
from gptoss_mlx.errors import ContextError, DeviceError
from gptoss_mlx.harmony.messages import Message
from gptoss_mlx.tokenizer import load_tokenizer

FIRST = Message(
    "assistant",
    '{"city": "Oslo"}',
    channel="analysis",
    recipient="functions.weather",
    content_type="code",
)


def conversation(source: Scripted, tool: Answering) -> Conversation:
    """A conversation with one tool."""
    return Conversation(source, load_tokenizer(), tools=[tool])


def test_a_first_call_is_run_before_the_model_writes() -> None:
    """Its result is in the first prompt, in the form of a call that the model made."""
    tool, source = Answering(), Scripted(turn("Hm.", "20 °C."))
    chat = conversation(source, tool)
    events = list(chat.stream("Weather?", first_calls=[FIRST]))

    assert [message.text for message in tool.calls] == [FIRST.text]
    assert isinstance(events[0], ToolCall)
    assert isinstance(events[1], ToolResult)
    assert source.prompts[0].endswith(
        "<|start|>user<|message|>Weather?<|end|>"
        "<|start|>assistant to=functions.weather<|channel|>analysis code<|message|>"
        '{"city": "Oslo"}<|call|>'
        "<|start|>functions.weather to=assistant<|channel|>analysis<|message|>20 °C<|end|>"
        "<|start|>assistant"
    )
    end = events[-1]
    assert isinstance(end, TurnEnd)
    assert end.messages[0] == FIRST
    assert end.usage.calls == 1
    assert end.usage.prompt_tokens == len(source.requests[0].prompt)


def test_the_next_turn_drops_what_reasoning_led_to() -> None:
    """A first call on analysis goes with the reasoning; what stands before is cached."""
    source = Scripted(turn("Hm.", "20 °C."), turn("", "21 °C."), remembers=True)
    chat = conversation(source, Answering())
    chat.ask("Weather?", first_calls=[FIRST])
    answer = chat.ask("And now?", first_calls=[FIRST])
    after_first_question = source.prompts[0].partition("assistant to=")[0]

    assert source.prompts[1].startswith(after_first_question)
    assert source.prompts[1].count("to=functions.weather") == 1
    assert "Hm." not in source.prompts[1]
    cached = load_tokenizer().decode(
        source.requests[1].prompt[: answer.usage.cached_tokens]
    )
    assert cached.startswith(after_first_question)


def test_a_first_call_counts_for_a_loop() -> None:
    """The model's third call of the kind is refused where it made two itself."""
    again = call("functions.weather", FIRST.text)
    source = Scripted(again, again, turn("", "Enough."))
    tool = Answering()
    answer = conversation(source, tool).ask("Weather?", first_calls=[FIRST])

    assert len(tool.calls) == 2
    refused = [m.text for m in answer.messages if "has been made before" in m.text]
    assert len(refused) == 1


@pytest.mark.parametrize(
    "error", [DeviceError("It broke."), ContextError("No room.")], ids=["device", "context"]
)
def test_nothing_is_kept_if_nothing_was_written(error: Exception) -> None:
    """Neither the question nor the first call nor its result: it can be asked again."""
    source = Scripted([error], turn("", "20 °C."))
    chat = conversation(source, Answering())
    before = list(chat.messages)
    with pytest.raises(type(error)):
        list(chat.stream("Weather?", first_calls=[FIRST]))

    assert chat.messages == before
    assert chat.ask("Weather?", first_calls=[FIRST]).text == "20 °C."


def test_ctrl_c_within_a_first_call_leaves_the_conversation_as_it_was() -> None:
    """The model has not been asked yet."""
    chat = conversation(Scripted(), Answering(answer=KeyboardInterrupt()))
    before = list(chat.messages)
    with pytest.raises(KeyboardInterrupt):
        list(chat.stream("Weather?", first_calls=[FIRST]))

    assert chat.messages == before


def test_a_turn_that_is_left_after_a_first_call_is_not_kept() -> None:
    """No more than one that is left before it."""
    chat = conversation(Scripted(), Answering())
    before = list(chat.messages)
    stream = chat.stream("Weather?", first_calls=[FIRST])
    next(stream)
    next(stream)
    stream.close()

    assert chat.messages == before


def test_a_failed_device_after_a_word_keeps_the_first_call() -> None:
    """The conversation can go on from what was written."""
    begun = said([Message("assistant", "20", channel="final")])[:-1]
    step: list[int | BaseException] = [*begun, DeviceError("It broke.")]
    source = Scripted(step)
    chat = conversation(source, Answering())
    before = list(chat.messages)
    with pytest.raises(DeviceError):
        list(chat.stream("Weather?", first_calls=[FIRST]))

    assert chat.messages[len(before) + 1] == FIRST
    check_sound(chat.messages, [*before, Message("user", "Weather?")])


def test_a_result_without_room_is_answered_with_the_reason() -> None:
    """The model is asked all the same."""
    source = Scripted(turn("", "I cannot tell."), context_tokens=400)
    chat = conversation(source, Answering(answer="long " * 1_000))
    answer = chat.ask("Weather?", first_calls=[FIRST])

    assert answer.text == "I cannot tell."
    assert "The context has no room for the result's" in source.prompts[0]


def test_a_question_without_room_runs_no_first_call() -> None:
    """It is refused as without one."""
    tool = Answering()
    chat = conversation(Scripted(context_tokens=20), tool)
    with pytest.raises(ContextError):
        chat.ask("Weather?", first_calls=[FIRST])

    assert tool.calls == []
