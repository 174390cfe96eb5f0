"""Whatever a schema or a call is: a right result or a refusal, in about a second."""

from __future__ import annotations

import os
import signal
import threading
import time
from itertools import pairwise
from typing import Any

import pytest

from gptoss_mlx.errors import ToolError
from gptoss_mlx.harmony.schema import typescript_type
from gptoss_mlx.tools.arguments import ArgumentSchema
from gptoss_mlx.tools.patterns import PatternError, Patterns

# Of processor time, since the machine may be busy. Each took over 1.5 s, or for ever.
SECONDS = 5.0  # of a busy machine; seconds to minutes before

NAMES = [f"n{i}" for i in range(20_000)]
LETTERS = "a" * 40 + "!"


def of(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema with the property ``a``."""
    return {"properties": {"a": schema}}


def laughing(keyword: str, last: dict[str, Any]) -> dict[str, Any]:
    """A short schema with 2^40 ways through it."""
    names = [f"d{i}" for i in range(40)]
    defs: dict[str, Any] = {
        name: {keyword: [{"$ref": f"#/$defs/{following}"}] * 2}
        for name, following in pairwise(names)
    }
    defs[names[-1]] = last
    return {"properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": defs}


def deep(depth: int, key: str) -> dict[str, Any]:
    """A schema in a schema, and so on."""
    schema: dict[str, Any] = {}
    for _ in range(depth):
        schema = {key: {"a": schema}}
    return schema


def verdict(schema: dict[str, Any], arguments: dict[str, Any]) -> str:
    """Compare; return what is wrong, within the time."""
    began = time.process_time()
    try:
        ArgumentSchema(schema).check(arguments)
        said = "fits"
    except (ToolError, ValueError) as error:
        said = str(error)
    assert time.process_time() - began < SECONDS
    return said


@pytest.mark.parametrize(
    ("schema", "arguments", "said"),
    [
        ({"required": NAMES, "properties": {"n0": {}}}, {"n0": 1}, "'n1' is a required"),
        ({"required": NAMES}, {}, "'n0' is a required"),
        ({"additionalProperties": {}}, dict.fromkeys(NAMES, 1), "fits"),
        (of({"uniqueItems": True}), {"a": [{"x": i} for i in range(4_000)]}, "fits"),
        (of({"uniqueItems": True}), {"a": NAMES}, "fits"),
        (
            of({"uniqueItems": True}),
            {"a": [*({"x": i} for i in range(4_000)), {"x": 7.0}]},
            "non-unique elements",
        ),
        (of({"pattern": "(a+)+$"}), {"a": LETTERS}, "takes over 1 s"),
        (of({"pattern": "(a|a)*$"}), {"a": LETTERS}, "takes over 1 s"),
        (of({"pattern": "(?x) (a+) +$"}), {"a": LETTERS}, "takes over 1 s"),
        (of({"pattern": "a*a*a*a*a*$"}), {"a": LETTERS * 200}, "takes over 1 s"),
        (of({"pattern": r"^(\w+\.)+com$"}), {"a": "a.b.c.com"}, "fits"),
        (of({"pattern": r"^(\w+\.)+com$"}), {"a": "a.b.c.org"}, "does not match"),
        ({"patternProperties": {"(a+)+$": {}}}, {LETTERS: 1}, "takes over 1 s"),
        (
            {"patternProperties": {"(a+)+$": {}}, "allOf": [{"$ref": "#/$defs/b"}],
             "$defs": {"b": {"patternProperties": {"(a|a)*$": {}}}}},
            {LETTERS: 1},
            "takes over 1 s",
        ),
        (
            {"patternProperties": {"(a+)+$": {}}, "unevaluatedProperties": False},
            {LETTERS: 1},
            "patternProperties beside unevaluatedProperties",
        ),
        (laughing("allOf", {"type": "integer"}), {"a": 1}, "takes over 150,000 steps"),
        (laughing("anyOf", {"type": "integer"}), {"a": "x"}, "takes over 150,000 steps"),
        (laughing("anyOf", {}) | {"$schema": "https://json-schema.org/draft-07/schema#"},
         {"a": "x"}, "fits"),
        (
            of({"items": {"anyOf": [{"enum": NAMES}] * 20}}),
            {"a": list(range(1_000))},
            "takes over 150,000 steps",
        ),
        (of({"anyOf": [{"type": "string"}] * 300}), {"a": NAMES}, "takes over 150,000"),
        ({"allOf": [{}]}, dict.fromkeys(NAMES, 1), "takes over 150,000 steps"),
        (deep(3_000, "properties"), {"a": 1}, "nested too deeply"),
        ({"properties": {"a": {"$ref": "#"}}}, deep(900, "a"), "nested too deeply"),
        ({"properties": {name: {} for name in NAMES}}, {}, "takes over 150,000 steps"),
        ({"type": [{}] * 4_000}, {}, "takes over 150,000 steps"),
        (of({"multipleOf": 0.1}), {"a": 10**4_000}, "cannot be checked"),
    ],
)  # fmt: skip
def test_a_slow_schema_or_call_is_answered_in_bounded_time(
    schema: dict[str, Any], arguments: dict[str, Any], said: str
) -> None:
    """Rightly, or refused with the reason."""
    assert said in verdict(schema, arguments)


def test_a_schema_of_another_dialect_keeps_the_bounds() -> None:
    """Jsonschema would take that dialect's own rules, wherever it is named."""
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "properties": {
            "a": {"$schema": "http://json-schema.org/draft-07/schema#", "pattern": "(a+)+$"}
        },
    }

    assert "takes over 1 s" in verdict(schema, {"a": LETTERS})


@pytest.mark.parametrize(
    ("schema", "arguments", "said"),
    [
        (of({"uniqueItems": True}), {"a": [1, 1.0]}, "non-unique"),
        (of({"uniqueItems": True}), {"a": [1, True, "1", [1], [True], {}, []]}, "fits"),
        (of({"uniqueItems": True}), {"a": [{"x": 1, "y": 2}, {"y": 2, "x": 1}]}, "non-"),
        ({"patternProperties": {"^x": {"type": "string"}}}, {"x1": "1"}, "fits"),
        ({"patternProperties": {"^x": {"type": "string"}}}, {"x1": 1}, "is not of type"),
        ({"patternProperties": {"^x": {}}}, {"y": 1}, "Additional properties"),
        ({"allOf": [of({})], "properties": {"b": {}}}, {"a": 1, "b": 1}, "fits"),
        ({"allOf": [of({})], "properties": {"b": {}}}, {"c": 1}, "Unevaluated properties"),
        (of({"properties": {"$schema": {"type": "integer"}}}), {"a": {"$schema": ""}},
         "is not of type 'integer'"),
    ],
)  # fmt: skip
def test_rules_of_our_own_say_what_jsonschema_s_do(
    schema: dict[str, Any], arguments: dict[str, Any], said: str
) -> None:
    """Where its own take time that grows with the square, or more."""
    assert said in verdict(schema, arguments)


@pytest.mark.parametrize("pattern", ["(a", "(" * 5_000, "(?z)", "(" * 200])
def test_what_is_not_a_regular_expression_is_a_caller_s_mistake(pattern: str) -> None:
    """It is said when the schema is given."""
    with pytest.raises(ValueError, match=r"is not a '?reg"):
        ArgumentSchema(of({"pattern": pattern}))


@pytest.mark.parametrize("text", ["", "\n", "\ud800", "é\x00😀"])
def test_any_text_is_searched_elsewhere_as_here(text: str) -> None:
    """Whatever characters it has."""
    with Patterns() as patterns:
        assert patterns.search(r"^(\w|\W)*$", text)
        assert not patterns.search(r"^(\w|\W)+x$", text)


def test_many_searches_share_one_process_and_one_time() -> None:
    """A list of a thousand is searched; of slow ones, all together end."""
    with Patterns() as patterns:
        for i in range(1_000):
            assert patterns.search(r"^(\w+\.)+com$", f"{i}.com")
        slow = "a" * 22 + "!"
        with pytest.raises(PatternError, match="takes over 1 s"):
            any(patterns.search("(a+)+$", slow) for _ in range(100))


@pytest.mark.usefixtures("ctrl_c_is_heard")
def test_ctrl_c_ends_a_slow_comparison() -> None:
    """Within the second, and no process is left."""
    schema = ArgumentSchema(of({"pattern": "(a+)+$"}))
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        schema.check({"a": LETTERS})
    timer.join()


def test_a_type_of_many_required_arguments_is_written_at_once() -> None:
    """It is looked up for each property."""
    began = time.process_time()
    text = typescript_type(
        {"type": "object", "properties": {name: {} for name in NAMES}, "required": NAMES}
    )

    assert time.process_time() - began < SECONDS
    assert text.count(": any") == len(NAMES)
