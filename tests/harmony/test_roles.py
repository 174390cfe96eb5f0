from __future__ import annotations

import pytest

from gptoss_mlx.harmony.messages import Message, Role
from gptoss_mlx.harmony.parse import ParsedMessage, parse
from gptoss_mlx.tokenizer import SPECIAL_TOKENS, load_tokenizer

START, CHANNEL, MESSAGE, END = (
    SPECIAL_TOKENS[f"<|{name}|>"] for name in ("start", "channel", "message", "end")
)


def read(words: str, *, channel: str | None = "final") -> ParsedMessage:
    """Read one message, whose header begins with these words."""
    encode = load_tokenizer().encode
    header = [] if channel is None else [CHANNEL, *encode(channel)]
    tokens = [START, *encode(words), *header, MESSAGE, *encode("42"), END]
    messages = parse(tokens, load_tokenizer())
    assert len(messages) == 1
    return messages[0]


@pytest.mark.parametrize(
    "words",
    [
        "assistantassistant",
        "assistantassistantassistant",
        "Assistant",
        "ASSISTANT",
        "assistant.",
        "assistant,",
        "assistants",
        "asistant",
        "assisstant",
        "asssistant",
        "assistent",
        "the_assistant",
        "bot",
        "model",
        "ChatGPT",
    ],
)
def test_what_resembles_the_assistant_is_the_assistant(words: str) -> None:
    """With a channel, an unknown role is never a tool; the guess is flagged."""
    parsed = read(words)

    assert parsed.message == Message("assistant", "42", channel="final")
    assert parsed.problem == f"{words!r} in place of the role"


@pytest.mark.parametrize(
    ("words", "role"),
    [("User", "user"), ("SYSTEM", "system"), ("Developer:", "developer")],
)
def test_a_role_in_other_letters_is_that_role(words: str, role: Role) -> None:
    """The message keeps that role, which is not the assistant."""
    parsed = read(words)

    assert parsed.message.role == role
    assert parsed.malformed


@pytest.mark.parametrize(
    "words", ["functions.f", "python to=assistant", "bot to=assistant"]
)
def test_a_tool_is_known_by_its_name_or_by_whom_it_speaks_to(words: str) -> None:
    """For any name of the tool."""
    parsed = read(words, channel="commentary")

    assert (parsed.message.role, parsed.message.name) == ("tool", words.split()[0])
    assert not parsed.malformed


def test_a_word_of_a_megabyte_is_compared_with_nothing() -> None:
    """A role is as long as the model likes to write it."""
    assert read("x" * 1_000_000).message.role == "assistant"


@pytest.mark.parametrize("word", ["Analysis", "ANALYSIS", "Analysis:"])
def test_a_channel_in_other_letters_is_that_channel(word: str) -> None:
    """Otherwise raw reasoning would be the answer; the guess is flagged."""
    parsed = read("assistant", channel=word)

    assert parsed.message == Message("assistant", "42", channel="analysis")
    assert parsed.problem == f"{word!r} in place of the channel"


@pytest.mark.parametrize("words", ["Analysis", "assistant Analysis"])
def test_a_channel_in_other_letters_without_its_token_is_that_channel(words: str) -> None:
    """In place of the role, or after it."""
    assert read(words, channel=None).message == Message("assistant", "42", "analysis")


def test_a_channel_in_other_letters_is_read_in_a_header_that_is_cut() -> None:
    """The text after it is reasoning."""
    tokens = [CHANNEL, *load_tokenizer().encode("Analysis Hm."), END]
    parsed = parse(tokens, load_tokenizer(), role="assistant")[0]

    assert parsed.message == Message("assistant", " Hm.", "analysis")
