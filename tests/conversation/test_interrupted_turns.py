"""Turns that are interrupted."""

from __future__ import annotations

import pytest
from played_turns import BUSY, DONE, Answering, Counting, asked, check_sound, play, said
from scripted import Scripted, turn

from gptoss_mlx.conversation.turn import run_turn
from gptoss_mlx.harmony.messages import Message
from gptoss_mlx.harmony.parse import Delta
from gptoss_mlx.tokenizer import load_tokenizer


def test_a_listener_may_leave_at_any_event() -> None:
    """The conversation is in order: a call that was not run is answered as stopped."""
    total = len(play(BUSY, BUSY, turn("Ah.", "Sunny."), tools=(Counting(),)).events)
    for leave_after in range(1, total + 1):
        tool = Counting()
        source = Scripted(BUSY, BUSY, turn("Ah.", "Sunny."))
        messages = asked(tool)
        turn_ = run_turn(messages, source, load_tokenizer(), tools=[tool])
        for _ in range(leave_after):
            next(turn_)
        turn_.close()

        check_sound(messages, asked(tool))
    assert total > 20


def test_a_source_may_fail_at_any_token() -> None:
    """Its error goes on to the caller, the conversation stays in order."""
    whole = said(BUSY)
    for at in range(len(whole)):
        for error in (KeyboardInterrupt(), RuntimeError("no memory")):
            tool = Answering()
            messages = asked(tool)
            source = Scripted([*whole[:at], error])
            with pytest.raises(type(error)):
                list(run_turn(messages, source, load_tokenizer(), tools=[tool]))

            check_sound(messages, asked(tool))
            assert tool.calls == []


def test_a_turn_stopped_while_the_prompt_is_read_is_closed() -> None:
    """The question stays, with an empty answer."""

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    messages = asked()
    with pytest.raises(KeyboardInterrupt):
        list(run_turn(messages, Scripted(DONE), load_tokenizer(), progress=stop))

    assert messages[len(asked()) :] == [Message("assistant", "", channel="final")]


def test_what_was_shown_is_kept() -> None:
    """A stopped answer is in the conversation as far as it was heard."""
    messages = asked()
    turn_ = run_turn(messages, Scripted(turn("", "one two three")[1:]), load_tokenizer())
    heard = ""
    for event in turn_:
        assert isinstance(event, Delta)
        heard += event.text
        if heard == "one two":
            break
    turn_.close()

    assert messages[-1] == Message("assistant", "one two", channel="final")
