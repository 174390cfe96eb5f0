from __future__ import annotations

import datetime

import pytest

from gptoss_mlx.errors import HarmonyError
from gptoss_mlx.harmony.content import content_text
from gptoss_mlx.harmony.messages import (
    DeveloperContent,
    Message,
    ResponseFormat,
    SystemContent,
    ToolDescription,
    ToolNamespace,
    developer_message,
    system_message,
)
from gptoss_mlx.harmony.render import (
    drop_old_analysis,
    render_conversation,
    render_for_training,
)
from gptoss_mlx.tokenizer import SPECIAL_TOKENS, load_tokenizer

SYSTEM = """\
<|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.
Knowledge cutoff: 2024-06
Current date: 2025-06-28

Reasoning: high

# Valid channels: analysis, commentary, final. Channel must be included for every message.\
<|end|>"""

QUESTION, THOUGHT, ANSWER = (
    Message("user", "Why?"),
    Message("assistant", "Hm.", channel="analysis"),
    Message("assistant", "So.", channel="final"),
)
TURN = [QUESTION, THOUGHT, ANSWER]


def test_a_conversation_renders_as_harmony_has_it() -> None:
    """System, developer and user messages, an answer, then the assistant's turn."""
    tokenizer = load_tokenizer()
    messages = [
        system_message(effort="high", current_date=datetime.date(2025, 6, 28)),
        developer_message("Be brief."),
        QUESTION,
        ANSWER,
    ]

    assert tokenizer.decode(render_conversation(messages, tokenizer)) == SYSTEM + (
        "<|start|>developer<|message|># Instructions\n\nBe brief.<|end|>"
        "<|start|>user<|message|>Why?<|end|>"
        "<|start|>assistant<|channel|>final<|message|>So.<|end|>"
        "<|start|>assistant"
    )


def test_structure_is_made_of_special_tokens() -> None:
    """The prompt has the length and the ends that OpenAI's library gives it."""
    messages = [
        system_message(),
        Message("user", "Reply with exactly one short greeting."),
    ]
    tokens = render_conversation(messages, load_tokenizer())

    assert len(tokens) == 63
    assert tokens[:3] == [200006, 17360, 200008]
    assert tokens[-3:] == [200007, 200006, 173781]


def everywhere(text: str) -> list[Message]:
    """A message in every role, with the text wherever a text can stand."""
    schema = {"type": "object", "description": text, "properties": {text: {"title": text}}}
    tools = (ToolNamespace("tools", (ToolDescription("f", text, schema),), text),)
    formats = (ResponseFormat(text, {text: text}, text),)
    return [
        Message("system", SystemContent(text, "low", text, text, (text,), True, tools)),
        Message("system", text),
        Message("developer", DeveloperContent(text, tools, formats)),
        Message("developer", text),
        Message("user", (text, text)),
        Message("assistant", text, "commentary", "functions.f", "<|constrain|>json"),
        Message("assistant", text, "final"),
        Message("tool", text, "commentary", "assistant", name="functions.f"),
    ]


@pytest.mark.parametrize("spelled", [*list(SPECIAL_TOKENS)[:12], "".join(SPECIAL_TOKENS)])
def test_text_cannot_write_structure(spelled: str) -> None:
    """Text that spells special tokens adds none, in any role and any place of it."""
    tokenizer = load_tokenizer()

    def structure(text: str) -> list[int]:
        tokens = render_conversation(everywhere(text), tokenizer, drop=False)
        return [token for token in tokens if tokenizer.is_special(token)]

    assert structure(spelled) == structure("hello")


def test_a_response_format_ends_the_developer_message() -> None:
    """After the tools, with its schema on one line."""
    schema = {"type": "object", "properties": {"é": {"type": "string"}}}
    message = developer_message(
        "Be brief.",
        (ToolDescription("f", "Does it."),),
        (ResponseFormat("shopping_list", schema, "What\nto buy."),),
    )

    assert message.content == DeveloperContent(
        "Be brief.",
        (ToolNamespace("functions", (ToolDescription("f", "Does it."),)),),
        (ResponseFormat("shopping_list", schema, "What\nto buy."),),
    )
    assert content_text(message.parts[0]).endswith(
        "} // namespace functions\n\n# Response Formats\n\n## shopping_list\n\n"
        '// What\n// to buy.\n{"type":"object","properties":{"é":{"type":"string"}}}'
    )


def test_training_keeps_the_reasoning_of_the_last_turn_alone() -> None:
    """The training target has reasoning and answer; earlier reasoning is dropped."""
    tokenizer = load_tokenizer()
    turn = [QUESTION, THOUGHT, ANSWER]
    tokens = render_for_training([*turn, *turn], tokenizer)

    assert tokenizer.decode(tokens) == (
        "<|start|>user<|message|>Why?<|end|>"
        "<|start|>assistant<|channel|>final<|message|>So.<|end|>"
        "<|start|>user<|message|>Why?<|end|>"
        "<|start|>assistant<|channel|>analysis<|message|>Hm.<|end|>"
        "<|start|>assistant<|channel|>final<|message|>So.<|return|>"
    )


def test_dropped_tools_are_still_told_of() -> None:
    """A developer's tools count for the system message, whatever is dropped."""
    messages = [
        system_message(),
        developer_message(None, (ToolDescription("f", ""),)),
        *TURN,
    ]

    assert "Calls to these tools" in load_tokenizer().decode(
        render_conversation(messages, load_tokenizer())
    )


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (Message("tool", "x"), "must have a name"),
        (Message("user", SystemContent()), "must be in a message of role 'system'"),
        (Message("system", DeveloperContent()), "of role 'developer'"),
    ],
)
def test_a_message_that_cannot_be_written_is_refused(message: Message, said: str) -> None:
    """As in openai-harmony, and before anything is sent to the model."""
    with pytest.raises(HarmonyError, match=said):
        render_conversation([message], load_tokenizer())


def test_reasoning_before_an_answer_is_dropped() -> None:
    """Reasoning of an earlier answer is dropped; the answer is kept."""
    messages = [QUESTION, THOUGHT, ANSWER, QUESTION]

    assert drop_old_analysis(messages) == [QUESTION, ANSWER, QUESTION]


def test_reasoning_of_every_answered_turn_is_dropped() -> None:
    """Not only the first turn's."""
    turn = [QUESTION, THOUGHT, ANSWER]

    assert drop_old_analysis([*turn, *turn]) == [QUESTION, ANSWER] * 2


def test_reasoning_of_a_turn_in_progress_is_kept() -> None:
    """Until there is an answer, the model needs its reasoning."""
    messages = [QUESTION, ANSWER, QUESTION, THOUGHT]

    assert drop_old_analysis(messages) == messages
