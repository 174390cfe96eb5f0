"""Compare a call's arguments with their JSON schema, in bounded time.

Neither the schema nor the arguments are trusted: a comparison may take hours. So each rule
of the schema counts steps, in proportion to what it compares.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import islice
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker, SchemaError, ValidationError
from jsonschema.exceptions import best_match
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

from gptoss_mlx.errors import ToolError
from gptoss_mlx.tools.patterns import PatternError, Patterns

__all__ = ["ArgumentSchema", "shortened"]

MAX_STEPS = 150_000
"""The most steps of one comparison, which take about a second."""

MAX_MISTAKES = 3
"""Mistakes of one call that the model is shown."""

MAX_MISTAKE = 300
"""Characters of each mistake: it may quote the model's text."""

NO_DOCUMENTS: Registry[Any] = Registry()
"""The target of a schema's ``$ref`` to another document: schemas are never downloaded."""

# Steps of one rule where the schema itself is checked.
_RULES_OF_A_SCHEMA = 50

# Beside one of these, other rules also define known keys.
_COMPOSED = {"$ref", "$dynamicRef", "allOf", "anyOf", "oneOf", "if", "dependentSchemas"}

Errors = Iterator[ValidationError]


class _TooMuchError(Exception):
    """The comparison takes too many steps."""


@dataclass(slots=True)
class _Check:
    """The steps of one comparison so far, and its search for patterns."""

    patterns: Patterns
    steps: int = 0

    def spend(self, steps: int) -> None:
        self.steps += steps
        if self.steps > MAX_STEPS:
            raise _TooMuchError(f"that takes over {MAX_STEPS:,} steps")


_CHECK: ContextVar[_Check] = ContextVar("check")


class ArgumentSchema:
    """The schema of a function's arguments: an object with only the named keys."""

    def __init__(self, parameters: Mapping[str, Any] | None) -> None:
        """Check that ``parameters`` is a schema.

        Raises:
            ValueError: It is not a JSON schema, or one that takes too long to check.
        """
        with _errors_as(ValueError, "it"), _checking():
            schema = {"type": "object"} | _without_dialect(dict(parameters or {}))
            try:
                _Validator.check_schema(schema, format_checker=_REGEX)
            except SchemaError as error:
                raise ValueError(f"{error.message} at {error.json_path}") from error
            self._validator = _Validator(_closed(schema), registry=NO_DOCUMENTS)

    def check(self, arguments: dict[str, Any]) -> None:
        """Compare ``arguments`` with the schema.

        Raises:
            ToolError: They do not fit, with the first mistakes, or the comparison takes
                too long.
        """
        with _errors_as(ToolError, "The arguments"), _checking():
            mistakes = [
                _told(best_match(iter([error])) or error)
                for error in islice(self._validator.iter_errors(arguments), MAX_MISTAKES)
            ]
        if mistakes:
            raise ToolError(f"The arguments are wrong. {' '.join(mistakes)}")


def shortened(text: str) -> str:
    """Cut a long text in its middle."""
    half = MAX_MISTAKE // 2
    return text if len(text) <= MAX_MISTAKE else f"{text[:half]} … {text[-half:]}"


def _told(mistake: ValidationError) -> str:
    where = "".join(
        f"[{key}]" if isinstance(key, int) else f".{key}" for key in mistake.absolute_path
    ).removeprefix(".")
    told = f"{where}: {mistake.message}" if where else mistake.message
    if mistake.validator in ("unevaluatedProperties", "additionalProperties"):
        schema = mistake.schema
        known = schema.get("properties", {}) if isinstance(schema, dict) else {}
        told += f"; known are: {', '.join(map(repr, known)) or 'none'}"
    return f"{shortened(told)}."


@contextmanager
def _checking() -> Iterator[None]:
    with Patterns() as patterns:
        token = _CHECK.set(_Check(patterns))
        try:
            yield
        finally:
            _CHECK.reset(token)


@contextmanager
def _errors_as(kind: type[Exception], what: str) -> Iterator[None]:
    try:
        yield
    except RecursionError as error:
        raise kind(f"{what} cannot be checked: nested too deeply.") from error
    except (_TooMuchError, PatternError, Unresolvable, ArithmeticError) as error:
        raise kind(f"{what} cannot be checked: {error}.") from error


def _bounded(name: str, rule: Any) -> Any:
    """Count the steps of a rule before it runs, and the text that its mistakes quote."""
    whole = name in ("const", "enum", "dependentRequired")
    square = name in ("unevaluatedItems", "unevaluatedProperties")

    def bounded(validator: Any, value: Any, instance: Any, schema: Any) -> Errors:
        check = _CHECK.get()
        length = _length(instance)
        check.spend(1 + length + (_size(value) if whole else _length(value)))
        if square:
            check.spend(length * length // 10)
        # Null where the schema says ``nullable``, as the prompt shows it.
        if instance is None and name in ("type", "enum") and schema.get("nullable") is True:
            return
        for error in rule(validator, value, instance, schema) or ():
            check.spend(len(error.message) // 100)
            yield error

    return bounded


def _length(value: object) -> int:
    return len(value) if isinstance(value, (dict, list)) else 0


def _size(value: object) -> int:
    """Count all values in ``value``."""
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + sum(map(_size, value)) if isinstance(value, list) else 1


def _unique_items(validator: Any, unique: Any, instance: Any, schema: Any) -> Errors:
    if unique and validator.is_type(instance, "array"):
        # Numbers can be chosen so that all have one hash.
        others = sum(not isinstance(item, str) for item in instance)
        _CHECK.get().spend(others**2 // 300)
        if len(set(map(_frozen, instance))) < len(instance):
            yield ValidationError(f"{instance!r} has non-unique elements")


def _frozen(value: Any) -> Any:
    """Make of a JSON value one that has a hash: equal values have equal ones."""
    if isinstance(value, bool):
        return bool, value  # True is 1 in Python
    if isinstance(value, list):
        return list, tuple(map(_frozen, value))
    if isinstance(value, dict):
        return dict, frozenset((key, _frozen(item)) for key, item in value.items())
    return value


def _pattern(validator: Any, pattern: Any, instance: Any, schema: Any) -> Errors:
    is_text = validator.is_type(instance, "string")
    if is_text and not _CHECK.get().patterns.search(pattern, instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _matching(patterns: Any, instance: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Return each pattern with each key that it matches."""
    check = _CHECK.get()
    for pattern in patterns:
        check.spend(len(instance))
        for key in instance:
            if check.patterns.search(pattern, key):
                yield pattern, key


def _pattern_properties(
    validator: Any, patterns: Any, instance: Any, schema: Any
) -> Errors:
    if validator.is_type(instance, "object"):
        for pattern, key in _matching(patterns, instance):
            yield from validator.descend(
                instance[key], patterns[pattern], path=key, schema_path=pattern
            )


def _additional_properties(
    validator: Any, additional: Any, instance: Any, schema: Any
) -> Errors:
    patterns = schema.get("patternProperties")
    if patterns and validator.is_type(instance, "object"):
        # jsonschema would search for them itself.
        matched = {key: True for _, key in _matching(patterns, instance)}
        schema = {"properties": schema.get("properties", {}) | matched}
    yield from _RULES["additionalProperties"](validator, additional, instance, schema)


def _closed(schema: dict[str, Any]) -> dict[str, Any]:
    """Allow no keys but those named, unless the schema says otherwise."""
    patterns = _has_key(schema, "patternProperties")
    if patterns and _has_key(schema, "unevaluatedProperties"):
        # jsonschema would search for the patterns itself, for as long as it takes.
        raise PatternError("patternProperties beside unevaluatedProperties")
    if not schema.keys() & _COMPOSED:
        return {"additionalProperties": False} | schema
    return schema if patterns else {"unevaluatedProperties": False} | schema


def _has_key(value: object, key: str) -> bool:
    if isinstance(value, list):
        return any(_has_key(item, key) for item in value)
    return isinstance(value, dict) and (
        key in value or any(_has_key(item, key) for item in value.values())
    )


def _without_dialect(value: Any) -> Any:
    """Leave out ``$schema``: jsonschema would take another dialect's rules for ours.

    What is left is counted: how long the schema itself takes to check.
    """
    check = _CHECK.get()
    check.spend(1)
    if isinstance(value, list):
        if any(isinstance(item, (list, dict)) for item in value):
            check.spend(len(value) ** 2 // 2)  # Each may be compared with all others.
        return list(map(_without_dialect, value))
    if not isinstance(value, dict):
        return value
    check.spend(_RULES_OF_A_SCHEMA)
    return {
        key: item if key in ("const", "enum", "default") else _without_dialect(item)
        for key, item in value.items()
        if not (key == "$schema" and isinstance(item, str))
    }


_REGEX = FormatChecker(formats=())


@_REGEX.checks("regex", raises=PatternError)
def _is_regex(value: object) -> bool:
    if isinstance(value, str):
        _CHECK.get().patterns.search(value, "")
    return True


_RULES = Draft202012Validator.VALIDATORS
_OURS = {
    "uniqueItems": _unique_items,
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
}
_BOUNDED = {name: _bounded(name, _OURS.get(name, rule)) for name, rule in _RULES.items()}
_Validator = extend(Draft202012Validator, _BOUNDED)  # type: ignore[no-untyped-call]
