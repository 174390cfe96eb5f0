"""What bounds a turn."""

from __future__ import annotations

import pytest
from played_turns import DONE, Answering, Counting, asked, play, tokens_of
from scripted import Scripted, call, turn

from gptoss_mlx.conversation.turn import MAX_REFUSALS, run_turn
from gptoss_mlx.errors import ContextError
from gptoss_mlx.harmony.messages import Message
from gptoss_mlx.harmony.render import render_conversation
from gptoss_mlx.tokenizer import load_tokenizer


def test_a_context_that_fills_up_ends_the_turn() -> None:
    """What was written until then is kept."""
    start = len(render_conversation(asked(), load_tokenizer()))
    played = play(turn("", "one two three four five")[1:], context_tokens=start + 6)

    assert played.end.reason == "context"
    assert played.messages[-1].content == "one two three"
    assert played.end.usage.context_tokens == start + 6


def test_a_conversation_with_no_room_is_refused_as_it_was() -> None:
    """Nothing is added to it."""
    messages = asked()
    with pytest.raises(ContextError):
        list(run_turn(messages, Scripted(DONE, context_tokens=10), load_tokenizer()))

    assert messages == asked()


def test_max_tokens_bounds_the_turn_and_not_each_step() -> None:
    """A call spends them too; where none are left the turn ends after the result."""
    step = call("functions.weather", "{}")
    tool = Counting()
    whole = play(step, step, DONE, tools=(tool,)).end.usage.generated_tokens
    final = play(DONE).end.usage.generated_tokens
    each = (whole - final) // 2
    for limit, calls, prompts in (
        (each - 1, 0, 1),
        (each, 1, 1),
        (each + 1, 1, 2),
        (2 * each, 2, 2),
        (2 * each + final - 1, 2, 3),
    ):
        tool = Counting()
        played = play(step, step, DONE, tools=(tool,), max_tokens=limit)

        assert played.end.reason == "length"
        assert (len(tool.calls), len(played.source.prompts)) == (calls, prompts)
        assert played.end.usage.generated_tokens == limit


@pytest.mark.parametrize("kept", range(1, 12))
def test_a_call_cut_by_max_tokens_is_never_run(kept: int) -> None:
    """Its arguments may look whole and not be."""
    tool = Answering()
    text = "<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{}"
    assert len(tokens_of(text)) >= kept
    played = play(text + " <|call|>", tools=(tool,), max_tokens=kept)

    assert tool.calls == []
    assert played.end.reason == "length"


def test_a_header_cut_in_a_channel_s_name_is_no_answer() -> None:
    """Half of "commentary" is neither shown nor kept."""
    played = play("<|channel|>commentary<|message|>Hi.<|end|>", max_tokens=2)

    assert (
        load_tokenizer().decode(tokens_of("<|channel|>commentary")[:2]).endswith("comment")
    )
    assert played.shown("final") == ""
    assert played.messages[len(asked()) :] == [Message("assistant", "", channel="final")]


def test_no_tokens_at_all_is_a_caller_s_mistake() -> None:
    """It is said before anything is read."""
    with pytest.raises(
        ValueError, match=r"\[run_turn\] max_tokens must be an integer of 1 or more"
    ):
        run_turn(asked(), Scripted(DONE), load_tokenizer(), max_tokens=0)


def test_calls_are_bounded() -> None:
    """What is over is refused; a model that goes on calling is stopped."""
    tool = Counting()
    played = play(call("functions.clock", "{}"), tools=(tool,), max_calls=3, forever=True)

    assert played.end.reason == "calls"
    assert (len(tool.calls), played.end.usage.calls) == (3, 3)
    assert played.results[3:] == [
        "Error: No more than 3 calls may be made in a turn. Answer with what you have."
    ] * (MAX_REFUSALS + 1)


def test_a_model_that_heeds_the_bound_may_answer() -> None:
    """The refusal is not the end of the turn."""
    step = call("functions.clock", "{}")
    played = play(step, step, DONE, tools=(Counting(),), max_calls=1)

    assert (played.shown("final"), played.end.reason) == ("Done.", "stop")


def test_malformed_calls_count() -> None:
    """Else a model that never finds the form would go on for ever."""
    calls = [f" to=nobody{i}<|channel|>commentary<|message|>{{}}<|call|>" for i in range(9)]
    played = play(*calls, max_calls=4)

    assert played.end.reason == "calls"
    assert len(played.results) == 4 + MAX_REFUSALS + 1


@pytest.mark.parametrize("period", [1, 2, 3, 4])
def test_calls_that_go_round_in_a_circle_are_stopped(period: int) -> None:
    """The third round is refused call by call, and soon the turn is over."""
    tool = Answering()
    steps = [call("functions.clock", f'{{"n": {n}}}') for n in range(period)]
    played = play(*steps, tools=(tool,), forever=True)

    assert played.end.reason == "calls"
    assert len(tool.calls) <= 3 * period
    assert played.results[-1].startswith("Error: This call has been made before")


def test_the_same_call_with_other_results_goes_on() -> None:
    """Waiting for something is no circle."""
    step = call("functions.clock", "{}")
    played = play(*[step] * 10, DONE, tools=(Counting(),))

    assert played.results == [str(n) for n in range(1, 11)]
    assert played.end.reason == "stop"


def test_the_same_call_twice_is_run_twice() -> None:
    """Once may be chance."""
    step = call("functions.clock", "{}")
    played = play(step, step, DONE, tools=(Answering(),))

    assert played.results == ["20 °C"] * 2


def test_a_loop_of_tokens_is_stopped() -> None:
    """In a message as in a call, which then is not run."""
    tool = Answering()
    for header in ("analysis", "commentary to=functions.weather"):
        played = play(
            f"<|channel|>{header}<|message|>" + "na " * 5000 + "<|call|>", tools=(tool,)
        )

        assert played.end.reason == "repetition"
        assert 1024 <= played.end.usage.generated_tokens < 1100
    assert tool.calls == []
