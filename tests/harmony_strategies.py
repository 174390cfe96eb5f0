"""Conversations for hypothesis, in openai-harmony's JSON form."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from gptoss_mlx.tokenizer import SPECIAL_TOKENS

Json = dict[str, Any]

SPELLED = [*list(SPECIAL_TOKENS)[:10], "<|channel|>final<|message|>", "to=functions.f"]

# What a file can hold: lone surrogates are no text.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
contents = st.lists(
    texts | st.sampled_from([*SPELLED, "\n", "  ", "Why? ", "{}", "🎉"]), max_size=5
).map("".join)
words = st.sampled_from(["x", "city", "get_weather", "π", "a-b", "null_able", "q1"])
# The library's JSON reader takes other floats, and whole numbers that fill more than 64
# bits, for one of their neighbours.
exact_floats = st.builds(
    lambda digits, exponent: float(f"{digits}e{exponent}"),
    st.integers(-(10**15), 10**15),
    st.integers(-22, 22),
)
numbers = st.integers(-(2**63), 2**64 - 1) | exact_floats
values = st.recursive(
    st.none() | st.booleans() | numbers | contents,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(contents, inner, max_size=3)
    ),
    max_leaves=6,
)

KINDS = ["string", "number", "integer", "boolean", "null", "odd", "array", "object"]


def _notes() -> dict[str, st.SearchStrategy[Any]]:
    return {
        "description": contents | st.just(3),
        "default": values,
        "title": contents,
        "examples": st.lists(values, max_size=3),
        "nullable": st.booleans() | st.just("yes"),
        "pattern": contents,
        "enum": st.lists(contents | numbers, max_size=3) | st.just("a"),
    }


def _schemas(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(
        {"type": st.sampled_from(KINDS) | st.lists(st.sampled_from(KINDS), max_size=3)},
        optional=_notes()
        | {
            "properties": st.dictionaries(words, inner, max_size=4),
            "required": st.lists(words, max_size=3) | st.just(1),
            "items": inner,
            "oneOf": st.lists(inner, max_size=3) | st.just("x"),
        },
    )


# Without the words that we rewrite: they have tests of their own.
schemas = st.recursive(
    st.fixed_dictionaries({}, optional=_notes()) | st.booleans(), _schemas, max_leaves=8
).filter(lambda schema: isinstance(schema, dict))


def _namespace(name: str) -> st.SearchStrategy[Json]:
    tool = st.fixed_dictionaries(
        {"name": words, "description": contents, "parameters": st.none() | schemas}
    )
    return st.fixed_dictionaries(
        {"name": st.just(name), "tools": st.lists(tool, max_size=3)},
        optional={"description": contents | st.none()},
    )


namespaces = st.lists(
    st.sampled_from(["functions", "browser", "a", "Z"]), max_size=3, unique=True
).flatmap(lambda names: st.fixed_dictionaries({n: _namespace(n) for n in names}))

systems = st.fixed_dictionaries(
    {"type": st.just("system_content")},
    optional={
        "model_identity": st.none() | contents,
        "reasoning_effort": st.sampled_from([None, "Low", "Medium", "High"]),
        "conversation_start_date": st.none() | contents,
        "knowledge_cutoff": st.none() | contents,
        "channel_config": st.none()
        | st.fixed_dictionaries(
            {
                "valid_channels": st.lists(contents, max_size=3),
                "channel_required": st.booleans(),
            }
        ),
        "tools": st.none() | namespaces,
    },
)
developers = st.fixed_dictionaries(
    {"type": st.just("developer_content")},
    optional={"instructions": st.none() | contents, "tools": st.none() | namespaces},
)
plain = st.builds(lambda text: {"type": "text", "text": text}, contents)

CHANNELS = [None, "analysis", "commentary", "final"]
TYPES = [None, "json", "code", "<|constrain|>json"]
RECIPIENTS = [None, "functions.get_weather", "browser.search", "python"]


def _message(role: str, content: st.SearchStrategy[Any], **more: Any) -> Any:
    return st.fixed_dictionaries(
        {"role": st.just(role), "name": st.none(), "content": content} | more
    )


spoken = st.lists(plain, min_size=1, max_size=2) | contents
messages = st.one_of(
    _message("system", st.lists(systems | plain, max_size=2)),
    _message("developer", st.lists(developers | plain, max_size=2)),
    _message("user", spoken, name=st.none() | words),
    _message(
        "assistant",
        spoken,
        channel=st.sampled_from(CHANNELS),
        recipient=st.sampled_from([*RECIPIENTS, "all"]),
        content_type=st.sampled_from(TYPES),
    ),
    _message(
        "tool",
        spoken,
        name=st.sampled_from(["functions.get_weather", "browser.search", "python"]),
        channel=st.sampled_from(CHANNELS),
        recipient=st.sampled_from([None, "assistant"]),
    ),
)
conversations = st.lists(messages, max_size=8).map(lambda found: {"messages": found})


def dumped(conversation: Json) -> str:
    """Write a conversation as a file holds it."""
    return json.dumps(conversation, ensure_ascii=False)
