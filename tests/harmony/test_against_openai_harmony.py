"""Our token ids are openai-harmony's, on conversations that hypothesis makes up."""

from __future__ import annotations

import json

import openai_harmony
import pytest
from evidence import Note
from harmony_round_trip import check_read_back
from harmony_strategies import Json, conversations, dumped, schemas
from hypothesis import HealthCheck, given, settings
from openai_harmony import RenderConversationConfig

from gptoss_mlx.harmony.builtin_tools import BROWSER, PYTHON
from gptoss_mlx.harmony.json_form import conversation_from_json, conversation_to_json
from gptoss_mlx.harmony.messages import Message, SystemContent
from gptoss_mlx.harmony.render import (
    drop_old_analysis,
    render_conversation,
    render_for_training,
)
from gptoss_mlx.tokenizer import load_tokenizer

KEEP = RenderConversationConfig(auto_drop_analysis=False)
DROP = RenderConversationConfig(auto_drop_analysis=True)

many = settings(
    max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck), database=None
)
some = settings(many, max_examples=150)


def theirs(conversation: Json) -> openai_harmony.Conversation:
    """The conversation as openai-harmony reads it."""
    return openai_harmony.Conversation.from_json(dumped(conversation))


def check_conversation(library: openai_harmony.HarmonyEncoding, conversation: Json) -> None:
    """Compare every way to render, and read what was rendered."""
    tokenizer = load_tokenizer()
    other = theirs(conversation)
    messages = conversation_from_json(json.loads(dumped(conversation)))
    role = openai_harmony.Role.ASSISTANT

    expected = library.render_conversation_for_completion(other, role, KEEP)
    assert render_conversation(messages, tokenizer, drop=False) == expected
    expected = library.render_conversation_for_training(other, KEEP)
    assert render_for_training(messages, tokenizer, drop=False) == expected

    kept = openai_harmony.Conversation.from_json(
        json.dumps(conversation_to_json(drop_old_analysis(messages)))
    )
    expected = library.render_conversation_for_completion(kept, role, KEEP)
    assert render_conversation(messages, tokenizer) == expected
    # Where one turn is all there is, both know the same rule.
    finals = [i for i, message in enumerate(messages) if message.channel == "final"]
    assistants = [i for i, m in enumerate(messages) if m.role == "assistant"]
    if len(finals) == 1 and finals == assistants[-1:]:
        expected = library.render_conversation_for_completion(other, role, DROP)
        assert render_conversation(messages, tokenizer) == expected

    check_read_back(messages)


@some
@given(conversation=conversations)
def test_conversations_have_the_library_s_tokens(
    library: openai_harmony.HarmonyEncoding, conversation: Json, note: Note
) -> None:
    """For completion and training, with nothing dropped and with the documented rule.

    The same conversations are read back from these tokens.
    """
    check_conversation(library, conversation)
    note("conversations", 1)


@pytest.mark.slow
@many
@given(conversation=conversations)
def test_2000_conversations_have_the_library_s_tokens(
    library: openai_harmony.HarmonyEncoding, conversation: Json, note: Note
) -> None:
    """The same test with many more."""
    check_conversation(library, conversation)
    note("conversations", 1)


def check_schema(library: openai_harmony.HarmonyEncoding, schema: Json) -> None:
    """Compare a developer message with one tool of these parameters."""
    tool = {"name": "f", "description": "What\nit does.\n", "parameters": schema}
    content = {
        "type": "developer_content",
        "tools": {"functions": {"name": "functions", "tools": [tool]}},
    }
    conversation = {"messages": [{"role": "developer", "content": [content]}]}
    messages = conversation_from_json(json.loads(dumped(conversation)))
    tokens = render_conversation(messages, load_tokenizer(), next_role=None)

    assert load_tokenizer().decode(tokens) == library.decode(
        library.render_conversation(theirs(conversation))
    )


@some
@given(schema=schemas)
def test_schemas_have_the_library_s_text(
    library: openai_harmony.HarmonyEncoding, schema: Json, note: Note
) -> None:
    """Every keyword that it knows, with values of every kind, right ones or not."""
    check_schema(library, schema)
    note("schemas", 1)


@pytest.mark.slow
@many
@given(schema=schemas)
def test_2000_schemas_have_the_library_s_text(
    library: openai_harmony.HarmonyEncoding, schema: Json, note: Note
) -> None:
    """The same test with many more."""
    check_schema(library, schema)
    note("schemas", 1)


def test_built_in_tools_have_the_library_s_texts(
    library: openai_harmony.HarmonyEncoding,
) -> None:
    """Browser and Python, which the model was trained on word for word."""
    content = openai_harmony.SystemContent.new().with_browser_tool().with_python_tool()
    message = openai_harmony.Message.from_role_and_content(
        openai_harmony.Role.SYSTEM, content
    )
    ours = Message("system", SystemContent(tools=(PYTHON, BROWSER)))
    tokens = render_conversation([ours], load_tokenizer(), next_role=None)

    assert tokens == library.render(message)


@some
@given(conversation=conversations)
def test_the_json_form_goes_both_ways(
    library: openai_harmony.HarmonyEncoding, conversation: Json
) -> None:
    """Reading our output returns the same messages, here and in openai-harmony."""
    messages = conversation_from_json(json.loads(dumped(conversation)))
    written = conversation_to_json(messages)

    assert conversation_from_json(json.loads(json.dumps(written))) == messages
    back = openai_harmony.Conversation.from_json(json.dumps(written))
    assert library.render_conversation(back) == library.render_conversation(
        theirs(conversation)
    )
