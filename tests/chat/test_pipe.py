from __future__ import annotations

import io

import pytest
from scripted import Scripted, call, turn, written

from gptoss_mlx.chat.commands import COMMANDS
from gptoss_mlx.chat.pipe import answer_lines
from gptoss_mlx.conversation.conversation import Conversation
from gptoss_mlx.harmony.messages import Message
from gptoss_mlx.tokenizer import load_tokenizer


def by_pipe(model: Scripted, *lines: str) -> tuple[bool, str, str]:
    """Ask by pipe; return whether all was answered, stdout and stderr."""
    output, notes = io.StringIO(), list[str]()
    conversation = Conversation(model, load_tokenizer())
    return (
        answer_lines(conversation, lines, output, notes.append) == 0,
        output.getvalue(),
        "".join(f"{note}\n" for note in notes),
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


@pytest.mark.parametrize(
    "line",
    [
        "/usr/bin/foo: command not found. Why?",
        "//etc",
        *(f"/{name}" for name in COMMANDS),
        "/clera",
        "/save x",
        "/",
    ],
)
def test_no_line_is_a_command(line: str) -> None:
    """So that each answer is that of its question."""
    model = Scripted(turn("", "One."), turn("", "Two."))

    assert by_pipe(model, f"{line}\n", "two\n") == (True, "One.\nTwo.\n", "")
    assert f"<|message|>{line}<|end|>" in model.prompts[0]


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


def test_a_note_stands_on_a_line_of_its_own() -> None:
    """Also where answers and notes go to one terminal."""
    shown = io.StringIO()
    model = Scripted(turn("Hm.", "word " * 10), context_tokens=90)
    conversation = Conversation(model, load_tokenizer())

    answer_lines(conversation, ["one\n"], shown, lambda line: print(line, file=shown))

    assert shown.getvalue().splitlines()[1].startswith("Context: 80")


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
        answer_lines(conversation, ["one\n"], output, print)

    assert output.getvalue() == "I will look.\n"
