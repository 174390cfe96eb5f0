"""Makes a tool of a plain Python function, from its signature and docstring."""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from gptoss_mlx.harmony.messages import ToolDescription
from gptoss_mlx.tools.tool import Tool

if TYPE_CHECKING:
    from gptoss_mlx.tools.functions import Function

__all__ = ["ToolLike", "function_from", "read_tools"]

ToolLike: TypeAlias = "Tool | Function | Callable[..., object]"
"""An entry of ``tools``."""


def read_tools(tools: Sequence[ToolLike] | None) -> tuple[Tool, ...]:
    """Collect all functions in one ``functions`` tool; leave other tools as they are.

    None means no tools.

    Raises:
        ValueError: An entry is not a tool; or see ``function_from`` and ``Functions``.
    """
    if tools is None:
        return ()
    if not isinstance(tools, Sequence):
        raise ValueError(f"[tools] tools must be a list of tools but got {tools!r}.")
    others = [tool for tool in tools if isinstance(tool, Tool)]
    if len(others) == len(tools):
        return tuple(others)
    # Imported here: a conversation without functions does not need JSON Schema.
    from gptoss_mlx.tools.functions import Function, Functions

    functions = [
        tool if isinstance(tool, Function) else function_from(tool)
        for tool in tools
        if not isinstance(tool, Tool)
    ]
    given = [tool for tool in others if isinstance(tool, Functions)]
    kept = [tool for tool in others if not isinstance(tool, Functions)]
    return (*kept, Functions([*(f for tool in given for f in tool.functions), *functions]))


def function_from(function: Callable[..., object]) -> Function:
    """Describe a Python function to the model.

    Args:
        function: Its name is the tool's name. Its type hints make the schema, with
            Pydantic; arguments are passed in those types. Its docstring is the description;
            an ``Args:`` section (Google, NumPy and Sphinx style) describes the arguments.

    Raises:
        ValueError: It cannot be called with arguments by name, is asynchronous, or a type
            hint has no JSON schema.
    """
    # Imported here: Pydantic takes a tenth of a second.
    import docstring_parser
    from pydantic import ConfigDict, TypeAdapter, validate_call
    from pydantic.json_schema import GenerateJsonSchema

    from gptoss_mlx.tools.functions import Function

    class Untitled(GenerateJsonSchema):
        """Omits each argument's title, which only repeats its name."""

        def field_title_should_be_set(self, schema: Any) -> bool:
            return False

    name = getattr(function, "__name__", None)
    if not callable(function) or not isinstance(name, str):
        raise ValueError(
            f"[tools] a tool must be a Tool or a function with a name but got {function!r}."
        )
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise ValueError(f"[tools] {name!r} must not be asynchronous.")
    if isinstance(function, type):
        raise ValueError(f"[tools] {name!r} must be a function but is a class.")
    try:
        run = validate_call(config=ConfigDict(arbitrary_types_allowed=False))(function)
        # Pydantic accepts a function as a type, but its annotations do not.
        schema = TypeAdapter[Any](cast(Any, function)).json_schema(
            schema_generator=Untitled
        )
    except Exception as error:  # Pydantic's own, or any from evaluating a hint
        raise ValueError(
            f"[tools] {name!r} must take arguments by name, each with a type that JSON can "
            f"hold{_unfit_argument(function)}."
        ) from error
    if schema.get("type") != "object":
        raise ValueError(f"[tools] {name!r} must take its arguments by name.")
    told = docstring_parser.parse(inspect.getdoc(function) or "")
    for argument in told.params:
        if argument.arg_name in (properties := schema.get("properties", {})):
            text = " ".join((argument.description or "").split())
            properties[argument.arg_name].setdefault("description", text)
    parameters = schema if schema.get("properties") else None
    return Function(ToolDescription(name, told.description or "", parameters), run)


def _unfit_argument(function: Callable[..., object]) -> str:
    """Return which argument has no JSON schema, and its type; empty if it is not one."""
    from pydantic import TypeAdapter

    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # a function in C
        return ", but has no signature"
    unknown = ""
    names = getattr(inspect.unwrap(function), "__globals__", {})
    for name, parameter in parameters.items():
        hint = parameter.annotation
        if hint is inspect.Parameter.empty:
            continue
        try:
            # A text is a hint that is evaluated later.
            kind = eval(hint, dict(names)) if isinstance(hint, str) else hint  # noqa: S307
        except Exception:
            unknown = unknown or f", but the type of {name!r}, {hint}, is not defined"
            continue
        try:
            TypeAdapter[Any](kind).json_schema()
        except Exception:
            shown = inspect.formatannotation(kind)
            needs = ""
            if typing.is_typeddict(kind) and sys.version_info < (3, 12):
                needs = ": take TypedDict from typing_extensions"
            return f", but {name!r} is a {shown}{needs}"
    return unknown
