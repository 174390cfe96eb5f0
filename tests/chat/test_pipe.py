from __future__ import annotations

import io

import pytest
from scripted import Scripted, call, turn, written

from gptoss_mlx.chat.pipe import answer_lines
from gptoss_mlx.conversation.conversation import Conversation
from gptoss_mlx.harmony.messages import Message
from gptoss_mlx.tokenizer import load_tokenizer


def by_pipe(model: Scripted, *lines: str) -> tuple[bool, str, str]:
    """Ask by pipe; return whether all was answered, stdout and stderr."""
    output, notes = io.StringIO(), io.StringIO()
    conversation = Conversation(model, load_tokenizer())
    return (
        answer_lines(conversation, lines, output, notes),
        output.getvalue(),
        notes.getvalue(),
    )


def test_each_line_gets_a_line_of_answer() -> None:
    """Answers alone, without the reasoning; empty lines are no questions."""
    model = Scripted(turn("Hm.", "One."), turn("Hm.", "Two 🎉"))

    assert by_pipe(model, "one\n", "\n", "  \n", "two") == (True, "One.\nTwo 🎉\n", "")
    assert "One." in model.prompts[1]


def test_an_answer_is_printed_as_it_is() -> None:
    """Markdown, line ends and all; what the model said before a call is none."""
    model = Scripted(
        [
            Message("assistant", "I will look.", channel="commentary"),
            *call("functions.look", "{}"),
        ],
        turn("", "# A\n\n- *b*\n\t\u202f"),
    )

    assert by_pipe(model, "one\n")[1:] == ("# A\n\n- *b*\n\t\u202f\n", "")


def test_nothing_is_nothing() -> None:
    """Without a question there is no output."""
    assert by_pipe(Scripted()) == (True, "", "")


def test_commands_hold_and_speak_on_stderr() -> None:
    """After /quit nothing is asked."""
    model = Scripted(turn("", "One."), turn("", "Two."))
    lines = ["one\n", "/clear\n", "/effort high\n", "two\n", "/quit\n", "three\n"]
    _, output, notes = by_pipe(model, *lines)

    assert output == "One.\nTwo.\n"
    assert notes == "A new conversation begins.\nThe effort is high from now on.\n"
    assert "One." not in model.prompts[1]
    assert "Reasoning: high" in model.prompts[1]


def test_a_line_with_an_unknown_command_is_not_asked() -> None:
    """The lines after it are."""
    model = Scripted(turn("", "One."))
    _, output, notes = by_pipe(model, "/clera\n", "//clear is what?\n")

    assert output == "One.\n"
    assert "Did you mean /clear?" in notes
    assert "<|message|>/clear is what?<|end|>" in model.prompts[0]


def test_a_question_without_room_does_not_stop_the_others() -> None:
    """Its answer is an empty line, the error stands on stderr."""
    model = Scripted(turn("", "Two."), context_tokens=150)
    answered, output, notes = by_pipe(model, "word " * 200, "two\n")

    assert not answered
    assert output == "\nTwo.\n"
    assert notes.startswith("Error: A conversation must be shorter.\nHint: ")


@pytest.mark.parametrize(
    ("context_tokens", "said"),
    [(75, "The answer was cut: the context is full (75 tokens)."), (90, "Context: 80")],
)
def test_a_context_that_is_or_will_be_full_is_said(context_tokens: int, said: str) -> None:
    """On stderr. An answer that was cut is not whole."""
    model = Scripted(turn("Hm.", "word " * 10), context_tokens=context_tokens)
    answered, output, notes = by_pipe(model, "one\n")

    assert answered is (context_tokens == 90)
    assert output.startswith("word word")
    assert notes.startswith(said)


def test_no_answer_is_said() -> None:
    """On stderr; stdout has its line."""
    assert by_pipe(Scripted(turn("Hm.", "")), "one\n") == (False, "\n", "(no answer)\n")


def test_what_an_interrupted_answer_had_said_is_printed() -> None:
    """Also what was held back until it was known that no call follows."""
    said = [Message("assistant", "I will look.", channel="commentary")]
    tokens = [*written(said)[:-1], KeyboardInterrupt()]
    conversation = Conversation(Scripted(tokens), load_tokenizer())
    output = io.StringIO()
    with pytest.raises(KeyboardInterrupt):
        answer_lines(conversation, ["one\n"], output, io.StringIO())

    assert output.getvalue() == "I will look.\n"
