from __future__ import annotations

from typing import Any

import pytest

from gptoss_mlx.harmony.schema import typescript_type

Json = dict[str, Any]
STRING: Json = {"type": "string"}
NULL: Json = {"type": "null"}
CHOICE: Json = {"type": "string", "enum": ["a", "b"]}
CITY: Json = {"type": "object", "properties": {"name": STRING}, "required": ["name"]}
NULLABLE_NAME: Json = {"type": "object", "properties": {"null_able": STRING}}


def shown(schema: Json, **more: Any) -> str:
    """The lines of one property, ``x``, without those around it."""
    text = typescript_type({"type": "object", "properties": {"x": schema}, **more})
    return text.removeprefix("{\n").removesuffix("\n}")


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"anyOf": [STRING, NULL], "default": None}, "x?: string | null, // default: null"),
        ({"anyOf": [NULL, {"type": "integer"}]}, "x?: number | null,"),
        ({"anyOf": [STRING, {"type": "integer"}]}, "x?: string | number,"),
        ({"anyOf": [{"type": "integer"}, {"type": "number"}]}, "x?: number,"),
        ({"anyOf": [STRING, {"type": "number"}, NULL]}, "x?: string | number | null,"),
        ({"anyOf": [CHOICE, NULL]}, 'x?: "a" | "b" | null,'),
        ({"anyOf": [{"type": ["string", "number"]}, NULL]}, "x?: string | number | null,"),
        ({"anyOf": [{"type": ["string", "null"]}, NULL]}, "x?: string | null,"),
        ({"anyOf": [{"type": "array", "items": STRING}, NULL]}, "x?: string[] | null,"),
        ({"anyOf": [CITY, NULL]}, "x?: {\n    name: string,\n    } | null,"),
        (
            {"anyOf": [NULLABLE_NAME, NULL]},
            "x?: {\n    null_able?: string,\n    } | null,",
        ),
        ({"anyOf": [CHOICE, {"type": "number"}]}, 'x?:\n | "a" | "b"\n | number\n,'),
        (
            {"anyOf": [CHOICE, {"type": "number"}, NULL]},
            'x?:\n | "a" | "b"\n | number\n | null\n,',
        ),
        ({"anyOf": [STRING]}, "x?: string,"),
        ({"anyOf": [{**STRING, "description": "D"}, NULL]}, "// D\nx?: string | null,"),
        (
            {"anyOf": [{**STRING, "description": "D"}, NULL], "description": "E"},
            "// E\nx?: string | null,",
        ),
        (
            {"type": "array", "items": {"anyOf": [STRING, NULL]}},
            "x?: string | null[],",
        ),
        (
            {"type": "array", "items": {"anyOf": [CHOICE, NULL]}},
            'x?: \n     | "a" | "b"\n     | null[],',
        ),
        ({"allOf": [CHOICE], "default": "a"}, 'x?: "a" | "b", // default: a'),
        # A type is shown already, so nothing is lost.
        ({"type": "object", "anyOf": [{"required": ["a"]}]}, "x?: {\n    },"),
        ({"anyOf": []}, "x?: any,"),
        ({"anyOf": "x"}, "x?: any,"),
        ({"anyOf": [True, NULL]}, "x?: any | null,"),
        ({"allOf": [STRING, CHOICE]}, "x?: any,"),
    ],
)
def test_a_type_that_the_library_loses_is_shown(schema: Json, text: str) -> None:
    """The library shows anyOf, and an allOf of one, as any."""
    assert shown(schema) == text


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"$ref": "#/$defs/Choice"}, 'x?: "a" | "b",'),
        ({"$ref": "#/$defs/Choice", "default": "a"}, 'x?: "a" | "b", // default: a'),
        ({"$ref": "#/$defs/Alias"}, 'x?: "a" | "b",'),
        ({"$ref": "#/$defs/a~1b"}, "x?: string,"),
        ({"$ref": "#/$defs/List/oneOf/0"}, "x?: string,"),
        ({"anyOf": [{"$ref": "#/$defs/Choice"}, NULL]}, 'x?: "a" | "b" | null,'),
        ({"type": "array", "items": {"$ref": "#/$defs/Choice"}}, 'x?: "a" | "b"[],'),
        ({"$ref": "#/$defs/Nowhere"}, "x?: any,"),
        ({"$ref": "#/$defs/List/oneOf/7"}, "x?: any,"),
        ({"$ref": "https://example.com/x"}, "x?: any,"),
        ({"$ref": "#/$defs/Self", "description": "D"}, "// D\nx?: any,"),
        (
            {"$ref": "#/$defs/Tree"},
            "x?: {\n    name?: string,\n    left?: any,\n    },",
        ),
    ],
)
def test_a_reference_is_followed(schema: Json, text: str) -> None:
    """References into definitions are followed, but never in a loop."""
    definitions = {
        "Choice": CHOICE,
        "Alias": {"$ref": "#/$defs/Choice"},
        "a/b": STRING,
        "List": {"oneOf": [STRING]},
        "Self": {"$ref": "#/$defs/Self"},
        "Tree": {
            "type": "object",
            "properties": {"name": STRING, "left": {"$ref": "#/$defs/Tree"}},
        },
    }

    assert shown(schema, **{"$defs": definitions}) == text


def test_a_reference_to_the_whole_schema_is_followed_once() -> None:
    """``#`` is the schema itself, and inside that it is any."""
    assert shown({"$ref": "#"}) == "x?: {\n    x?: any,\n    },"


def test_references_that_multiply_stay_small() -> None:
    """Each of 40 definitions names the next one twice: 2^40 if all were followed."""
    definitions: Json = {
        f"D{i}": {
            "type": "object",
            "properties": {side: {"$ref": f"#/$defs/D{i + 1}"} for side in "ab"},
        }
        for i in range(40)
    }

    assert len(shown({"$ref": "#/$defs/D0"}, **{"$defs": definitions})) < 1_000_000


def test_a_schema_nested_too_deep_ends_in_any() -> None:
    """No error is raised at any depth."""
    schema: Json = STRING
    for _ in range(5000):
        schema = {"type": "array", "items": schema}

    assert typescript_type(schema).startswith("any[]")


def test_the_caller_s_schema_is_not_changed() -> None:
    """The same schema can be rendered again, and sent elsewhere."""
    schema = {"type": "object", "properties": {"x": {"anyOf": [CITY, NULL]}}}
    before = repr(schema)
    typescript_type(schema)

    assert repr(schema) == before


def test_nullable_parameters_are_shown_at_the_top() -> None:
    """``nullable`` is not rendered at the top level, so null becomes one of the types."""
    assert typescript_type({"anyOf": [CHOICE, NULL]}) == '\n | "a" | "b"\n | null'
