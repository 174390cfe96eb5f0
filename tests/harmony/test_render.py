from __future__ import annotations

import datetime

import pytest

from gptoss_mlx.harmony.messages import Message, developer_message, system_message
from gptoss_mlx.harmony.render import drop_old_analysis, render_conversation
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


@pytest.mark.parametrize("role", ["user", "developer", "system", "assistant"])
def test_content_cannot_write_structure(role: str) -> None:
    """Content that spells special tokens adds none to the prompt."""
    tokenizer = load_tokenizer()

    def structure(content: str) -> list[int]:
        message = Message(role, content)  # type: ignore[arg-type]
        tokens = render_conversation([message], tokenizer)
        return [token for token in tokens if tokenizer.is_special(token)]

    assert structure("".join(SPECIAL_TOKENS)) == structure("hello")


def test_reasoning_before_an_answer_is_dropped() -> None:
    """What led to an answer already given does not come back; answers do."""
    messages = [QUESTION, THOUGHT, ANSWER, QUESTION]

    assert drop_old_analysis(messages) == [QUESTION, ANSWER, QUESTION]


def test_reasoning_of_every_answered_turn_is_dropped() -> None:
    """Not of the first turn alone."""
    turn = [QUESTION, THOUGHT, ANSWER]

    assert drop_old_analysis([*turn, *turn]) == [QUESTION, ANSWER] * 2


def test_reasoning_of_a_turn_in_progress_is_kept() -> None:
    """Until there is an answer, the model sees what it thought."""
    messages = [QUESTION, ANSWER, QUESTION, THOUGHT]

    assert drop_old_analysis(messages) == messages
