"""The caller's own Python functions, as tools."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from jsonschema import Draft202012Validator, SchemaError, ValidationError
from jsonschema.exceptions import best_match
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

from gptoss_mlx.errors import ToolError
from gptoss_mlx.harmony.messages import FUNCTIONS, Message, ToolDescription, ToolNamespace
from gptoss_mlx.harmony.names import is_name
from gptoss_mlx.tools.tool import Tool

__all__ = ["Function", "Functions"]

MAX_MISTAKES = 3
"""Mistakes of one call that the model is shown."""

MAX_MISTAKE = 300
"""Characters of each mistake: it may quote the model's text."""

NO_DOCUMENTS: Registry[Any] = Registry()
"""The target of a schema's ``$ref`` to another document: schemas are never downloaded."""


@dataclass(frozen=True, slots=True)
class Function:
    """A function that the model may call.

    Attributes:
        description: Its name, its description for the model, and the JSON schema of its
            arguments.
        run: Takes the arguments by name. The model is shown the result: a text as it is,
            anything else as JSON. It is also shown the message of an error raised here.
    """

    description: ToolDescription
    run: Callable[..., object]


class Functions(Tool):
    """Functions under the namespace ``functions``, called with a JSON object.

    A call whose arguments do not fit the schema is answered with its mistakes.
    See examples/tool_call.py.
    """

    def __init__(self, functions: Sequence[Function]) -> None:
        """Offer ``functions``.

        Raises:
            ValueError: Two have the same name, a name cannot be called, or a schema is
                not a schema.
        """
        for function in functions:
            if not is_name(name := function.description.name):
                raise ValueError(
                    "[Functions] names must consist of letters, digits, '_', '-' and '.' "
                    f"but got {name!r}."
                )
        self._functions = {f.description.name: f for f in functions}
        if len(self._functions) != len(functions):
            names = [f.description.name for f in functions]
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"[Functions] names must differ but {twice!r} is there twice.")
        self._validators = {
            f.description.name: _validator(f.description) for f in functions
        }

    @property
    def functions(self) -> tuple[Function, ...]:
        """All functions, in the given order."""
        return tuple(self._functions.values())

    @property
    def instruction(self) -> ToolNamespace:
        """All functions, with their schemas."""
        return ToolNamespace(
            FUNCTIONS, tuple(f.description for f in self._functions.values())
        )

    def process(self, call: Message) -> str:
        """Run the function that ``call`` names."""
        name = (call.recipient or "").removeprefix(f"{FUNCTIONS}.")
        function = self._functions.get(name)
        if function is None:
            known = ", ".join(f"{FUNCTIONS}.{known}" for known in self._functions)
            raise ToolError(
                f"There is no function {name!r}. The functions are: {known or 'none'}."
            )
        arguments = _arguments(call)
        _check(arguments, self._validators[name])
        try:
            result = function.run(**arguments)
            if isinstance(result, str):
                return result
            return json.dumps(result, ensure_ascii=False, default=str)
        except ToolError:
            raise
        except (Exception, SystemExit) as error:  # exit() in a tool ends only the call
            raise ToolError(f"{type(error).__name__}: {error}") from error


def _or_null(rule: Any) -> Any:
    """Let a rule accept null if the schema is ``nullable``, as the prompt shows it."""

    def check(
        validator: Any, value: Any, instance: Any, schema: Any
    ) -> Iterator[ValidationError]:
        if instance is not None or schema.get("nullable") is not True:
            yield from rule(validator, value, instance, schema)

    return check


_RULES = Draft202012Validator.VALIDATORS
_Validator = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator, {name: _or_null(_RULES[name]) for name in ("type", "enum")}
)


def _validator(description: ToolDescription) -> Any:
    """Make the validator of the arguments: an object with only the named arguments."""
    schema = {"type": "object", "unevaluatedProperties": False}
    schema |= description.parameters or {}
    try:
        _Validator.check_schema(schema)
    except SchemaError as error:
        raise ValueError(
            f"[Functions] parameters of {description.name!r} must be a JSON schema: "
            f"{error.message} at {error.json_path}."
        ) from error
    return _Validator(schema, registry=NO_DOCUMENTS)


def _arguments(call: Message) -> dict[str, Any]:
    """Read the arguments, also in forms that differ from JSON."""
    text = call.text
    try:
        # Models call functions without arguments with no content, and write code in
        # arguments with plain line breaks.
        arguments = json.loads(text, strict=False) if text.strip() else {}
    except (ValueError, RecursionError) as error:
        raise ToolError(f"The arguments must be JSON: {error}.") from error
    if not isinstance(arguments, dict):
        raise ToolError(f"The arguments must be a JSON object but are {_short(text)}.")
    return arguments


def _check(arguments: dict[str, Any], validator: Any) -> None:
    """Compare arguments with their schema; raise the first mistakes."""
    try:
        mistakes = [
            _told(best_match(iter([error])) or error)
            for error in islice(validator.iter_errors(arguments), MAX_MISTAKES)
        ]
    except (RecursionError, Unresolvable) as error:
        raise ToolError(f"The arguments cannot be checked: {error}.") from error
    if mistakes:
        raise ToolError(f"The arguments are wrong. {' '.join(mistakes)}")


def _told(mistake: ValidationError) -> str:
    where = "".join(
        f"[{key}]" if isinstance(key, int) else f".{key}" for key in mistake.absolute_path
    ).removeprefix(".")
    told = f"{where}: {mistake.message}" if where else mistake.message
    if mistake.validator in ("unevaluatedProperties", "additionalProperties"):
        schema = mistake.schema
        known = schema.get("properties", {}) if isinstance(schema, dict) else {}
        told += f"; known are: {', '.join(map(repr, known)) or 'none'}"
    return f"{_short(told)}."


def _short(text: str) -> str:
    half = MAX_MISTAKE // 2
    return text if len(text) <= MAX_MISTAKE else f"{text[:half]} … {text[-half:]}"
