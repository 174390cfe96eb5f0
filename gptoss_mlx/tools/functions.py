"""The caller's own Python functions, as tools."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gptoss_mlx.errors import ToolError
from gptoss_mlx.harmony.messages import FUNCTIONS, Message, ToolDescription, ToolNamespace
from gptoss_mlx.harmony.names import is_name
from gptoss_mlx.tools.arguments import ArgumentSchema, shortened
from gptoss_mlx.tools.tool import Tool

__all__ = ["Function", "Functions"]


@dataclass(frozen=True, slots=True)
class Function:
    """A function that the model may call.

    Attributes:
        description: Its name, what the model is told of it, and the JSON schema of its
            arguments.
        run: Takes the arguments by name. What it returns is shown to the model: a text as
            it is, anything else as JSON. So is the message of what it raises.
    """

    description: ToolDescription
    run: Callable[..., object]


class Functions(Tool):
    """Functions under the namespace ``functions``, called with a JSON object.

    A call whose arguments do not fit the schema is answered with what is wrong.
    examples/tool_call.py shows one.
    """

    def __init__(self, functions: Sequence[Function]) -> None:
        """Offer ``functions``.

        Raises:
            ValueError: Two have the same name, a name cannot be called, or a schema is
                none.
        """
        for function in functions:
            if not is_name(name := function.description.name):
                raise ValueError(
                    "[Functions] names must be of letters, digits, '_', '-' and '.' "
                    f"but got {name!r}."
                )
        self._functions = {f.description.name: f for f in functions}
        if len(self._functions) != len(functions):
            names = [f.description.name for f in functions]
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"[Functions] names must differ but {twice!r} is there twice.")
        self._schemas = {f.description.name: _schema(f.description) for f in functions}

    @property
    def functions(self) -> tuple[Function, ...]:
        """All functions, in the order they were given in."""
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
        self._schemas[name].check(arguments)
        try:
            result = function.run(**arguments)
            if isinstance(result, str):
                return result
            return json.dumps(result, ensure_ascii=False, default=str)
        except ToolError:
            raise
        except KeyboardInterrupt:  # the user's
            raise
        except BaseException as error:  # Also exit() in a tool ends the call alone.
            raise ToolError(f"{type(error).__name__}: {_message(error)}") from error


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as another:
        return f"its message cannot be shown ({type(another).__name__})"


def _schema(description: ToolDescription) -> ArgumentSchema:
    try:
        return ArgumentSchema(description.parameters)
    except ValueError as error:
        raise ValueError(
            f"[Functions] parameters of {description.name!r} must be a JSON schema: "
            f"{str(error).rstrip('.')}."
        ) from error


def _arguments(call: Message) -> dict[str, Any]:
    """Read the arguments, as far as they can be understood."""
    text = call.text
    try:
        # Functions without arguments are called with no content, and code in arguments
        # has its line breaks as they are.
        arguments = json.loads(text, strict=False) if text.strip() else {}
    except (ValueError, RecursionError) as error:
        raise ToolError(f"The arguments must be JSON: {error}.") from error
    if not isinstance(arguments, dict):
        raise ToolError(f"The arguments must be a JSON object but are {shortened(text)}.")
    return arguments
