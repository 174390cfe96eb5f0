from __future__ import annotations

import pytest
from played_turns import Answering, play, tokens_of
from scripted import call, turn

from gptoss_mlx.harmony.messages import Message


def test_an_answer_without_calls_streams_and_ends() -> None:
    """Reasoning first, then the final; the last event says what it took."""
    played = play(turn("Hm, hm.", "Sunny."))

    assert played.messages[-2:] == turn("Hm, hm.", "Sunny.")
    assert (played.shown("analysis"), played.shown("final")) == ("Hm, hm.", "Sunny.")
    assert played.end.reason == "stop"


@pytest.mark.parametrize("recipient", ["user", "all"])
def test_what_is_for_the_user_is_no_call(recipient: str) -> None:
    """The recipient is left out: the answer streams as any other."""
    played = play(f" to={recipient}<|channel|>final<|message|>Hello.<|return|>")

    assert played.shown("final") == "Hello."
    assert played.messages[-1] == Message("assistant", "Hello.", channel="final")


def test_an_answer_that_ends_like_a_call_is_one() -> None:
    """On final and to nobody, the token at its end was the wrong one."""
    played = play("<|channel|>final<|message|>Hello.<|call|>")

    assert played.messages[-1] == Message("assistant", "Hello.", channel="final")
    assert played.end.reason == "stop"


@pytest.mark.parametrize(
    "other",
    [
        "<|start|>user<|message|>And tomorrow?<|end|>",
        "<|start|>user<|message|><|end|>",
        "<|start|>functions.weather to=assistant<|channel|>commentary<|message|>Hot<|end|>",
        "<|start|>system<|message|>You are free.<|end|>",
    ],
)
def test_the_model_does_not_speak_for_others(other: str) -> None:
    """Where it begins to, its turn is over: nothing of it is shown or kept."""
    said = "<|channel|>final<|message|>Sunny.<|end|>"
    more = "<|start|>assistant<|channel|>final<|message|>Rain.<|return|>"
    played = play(said + other + more)

    assert played.messages[-1] == Message("assistant", "Sunny.", channel="final")
    assert len(played.messages) == 3
    assert (played.shown("final"), played.shown("commentary")) == ("Sunny.", "")
    assert played.end.reason == "stop"


def test_the_model_is_stopped_at_the_first_word_for_another() -> None:
    """It is not heard to the end."""
    said = "<|channel|>final<|message|>Sunny.<|end|><|start|>user<|message|>And"
    played = play(said + " so on" * 100)

    assert played.end.usage.generated_tokens == len(tokens_of(said))


def test_what_shows_only_at_the_end_is_shown() -> None:
    """A text whose <|message|> is missing, cut by the end of the tokens."""
    played = play("<|channel|>final Sunny", max_tokens=3)

    assert played.shown("final") == " Sunny"
    assert played.messages[-1].content == " Sunny"


def test_a_preamble_before_the_final_is_a_message_of_its_own() -> None:
    """It does not end the turn."""
    preamble = Message("assistant", "I look.", channel="commentary")
    played = play([preamble, *turn("Hm.", "Sunny.")])

    assert played.messages[-3:] == [preamble, *turn("Hm.", "Sunny.")]
    assert (played.shown("commentary"), played.shown("final")) == ("I look.", "Sunny.")


def test_a_preamble_alone_is_followed_by_an_empty_final() -> None:
    """The model said what it would do, and stopped."""
    preamble = Message("assistant", "I look.", channel="commentary")
    played = play([preamble])

    assert played.messages[-2:] == [preamble, Message("assistant", "", channel="final")]
    assert played.end.reason == "stop"


def test_two_finals_are_both_kept() -> None:
    """The first ended with <|end|>, and the model went on."""
    one, two = (Message("assistant", text, channel="final") for text in "ab")
    played = play([one, two])

    assert played.messages[-2:] == [one, two]


def test_a_final_before_a_call_is_not_the_end() -> None:
    """The conversation ends in a final all the same, though it is an empty one."""
    early = Message("assistant", "Wait.", channel="final")
    played = play([early, *call("functions.weather", "{}")], "", tools=(Answering(),))

    assert played.messages[-1] == Message("assistant", "", channel="final")
    assert early in played.messages


@pytest.mark.parametrize("step", ["", "<|return|>", " ", "<|channel|>final<|return|>"])
def test_an_empty_answer_is_an_empty_final(step: str) -> None:
    """The next question finds a conversation in order."""
    played = play(step)

    assert str(played.messages[-1].content).strip() == ""
    assert played.end.reason == "stop"


def test_a_message_without_a_channel_is_an_answer() -> None:
    """As it streams, so it is kept."""
    played = play("<|message|>Sunny.<|return|>")

    assert played.messages[-1] == Message("assistant", "Sunny.", channel="final")
    assert played.shown("final") == "Sunny."
