"""The ``python`` tool. It evaluates only plain arithmetic: there is no sandbox yet.

The output is a notebook's, as in gpt-oss's own tool: printed text, then the value of the
last line, each with a newline.

Source: https://github.com/openai/gpt-oss/blob/main/gpt_oss/tools/python_docker/docker_tool.py
"""

from __future__ import annotations

import ast
import json
import operator
import re
import warnings
from collections.abc import Callable, Mapping, Sequence

from gptoss_mlx.controls import escaped
from gptoss_mlx.errors import ToolError
from gptoss_mlx.harmony.builtin_tools import PYTHON
from gptoss_mlx.harmony.messages import Message, ToolNamespace
from gptoss_mlx.tools.tool import Tool

__all__ = ["MAX_DIGITS", "NO_OUTPUT", "Python"]

NO_OUTPUT = (
    "[WARN] No output available. Use print() to output anything to stdout to receive the "
    "output"
)
"""gpt-oss's own text for code without output."""

MAX_DIGITS = 4_000
"""The most digits of a whole number. Python itself refuses to print more than 4,300."""

MAX_SOURCE = 10_000
MAX_OUTPUT = 20_000
MAX_NAMES = 1_000

Number = int | float

_MAX = 10**MAX_DIGITS
_OPERATORS: Mapping[type[ast.operator], Callable[[Number, Number], object]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_SIGNS: Mapping[type[ast.unaryop], Callable[[Number], object]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}
_FUNCTIONS = ("abs", "max", "min", "round", "sum")
_FENCE = re.compile(r"\s*```\w*\n(.*?)(?:```\s*)?", re.DOTALL)


class Python(Tool):
    """Arithmetic in Python's notation. Names keep their values from call to call."""

    def __init__(self) -> None:
        self._names: dict[str, Number] = {}

    @property
    def instruction(self) -> ToolNamespace:
        """The text that gpt-oss was trained on, which promises more than is implemented."""
        return PYTHON

    def reset(self) -> None:
        """Delete all names."""
        self._names = {}

    def process(self, call: Message) -> str:
        """Evaluate the code of ``call``, line by line."""
        source = _source(call.text)
        names = dict(self._names)
        try:
            output = _run(_parse(source), source, names)
        except RecursionError as error:
            raise ToolError("The code must not be nested so deeply.") from error
        except (ArithmeticError, TypeError, ValueError) as error:
            raise ToolError(f"{type(error).__name__}: {error}") from error
        self._names = names
        return output or NO_OUTPUT


def _source(text: str) -> str:
    """Extract code from the forms that models use: JSON, or a fence."""
    if len(text) > MAX_SOURCE:
        raise ToolError(
            f"The code must have at most {MAX_SOURCE:,} characters but has {len(text):,}."
        )
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict) and len(value) == 1:
        value = next(iter(value.values()))
    if isinstance(value, str):
        text = value
    fenced = _FENCE.fullmatch(text)
    return fenced[1] if fenced else text


def _parse(source: str) -> list[ast.stmt]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as for `2if`; Python would print them
            return ast.parse(source.strip()).body
    except SyntaxError as error:
        raise ToolError(f"SyntaxError: {error.msg} (line {error.lineno})") from error
    except MemoryError as error:  # Python's parser raises it for too many brackets
        raise ToolError("The code must not be nested so deeply.") from error


def _run(lines: Sequence[ast.stmt], source: str, names: dict[str, Number]) -> str:
    """Return the output; new values are stored in ``names``."""
    calculator = _Calculator(source, names)
    shown = []
    for line in lines:
        if isinstance(line, ast.Expr) and (printed := calculator.printed(line.value)):
            shown.append(printed)
        elif isinstance(line, ast.Expr):
            value = calculator.value(line.value)
            if line is lines[-1]:
                shown.append(f"{value}\n")
        else:
            calculator.assign(line)
        if sum(map(len, shown)) > MAX_OUTPUT:
            raise _too_much()
    return "".join(shown)


class _Calculator:
    """Evaluates expressions itself. Python never runs the code."""

    def __init__(self, source: str, names: dict[str, Number]) -> None:
        self._source = source.strip()
        self._names = names

    def printed(self, node: ast.expr) -> str | None:
        """Return the output of ``print``; None if ``node`` is something else."""
        if not (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "print"
        ):
            return None
        if node.keywords:
            raise self._refusal(node.keywords[0])
        shown: list[str] = []
        length = 0
        for argument in node.args:
            shown.append(str(self.value(argument)))
            length += len(shown[-1]) + 1
            if length > MAX_OUTPUT:
                raise _too_much()
        return " ".join(shown) + "\n"

    def assign(self, node: ast.stmt) -> None:
        """Assign values to names: ``a = b = 2`` or ``a += 2``."""
        match node:
            case ast.Assign(targets=targets, value=expression):
                value = self.value(expression)
            case ast.AugAssign(target=ast.Name(id=name) as only, op=op, value=expression):
                targets = [only]
                value = self._apply(op, self._named(name), self.value(expression), node)
            case _:
                raise self._refusal(node)
        for target in targets:
            if not isinstance(target, ast.Name):
                raise self._refusal(target)
            self._names[target.id] = value
        if len(self._names) > MAX_NAMES:
            raise ToolError(f"At most {MAX_NAMES:,} names may be used.")

    def value(self, node: ast.expr) -> Number:
        """Return the value of an expression."""
        match node:
            case ast.Constant(value=int() | float() as value) if type(value) is not bool:
                return self._checked(value, node)
            case ast.Name(id=name):
                return self._named(name)
            case ast.BinOp(left=left, op=op, right=right):
                return self._apply(op, self.value(left), self.value(right), node)
            case ast.UnaryOp(op=sign, operand=operand) if type(sign) in _SIGNS:
                return self._checked(_SIGNS[type(sign)](self.value(operand)), node)
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                return self._call(name, arguments, node)
        raise self._refusal(node)

    def _named(self, name: str) -> Number:
        if name not in self._names:
            raise ToolError(f"NameError: name {name!r} is not defined")
        return self._names[name]

    def _apply(
        self, op: ast.operator, left: Number, right: Number, node: ast.AST
    ) -> Number:
        if type(op) not in _OPERATORS:
            raise self._refusal(node)
        if (
            isinstance(op, ast.Pow)
            and isinstance(left, int)
            and isinstance(right, int)
            and (left.bit_length() - 1) * right > _MAX.bit_length()
        ):
            raise _too_long()
        return self._checked(_OPERATORS[type(op)](left, right), node)

    def _call(self, name: str, arguments: Sequence[ast.expr], node: ast.AST) -> Number:
        if name not in _FUNCTIONS:
            raise self._refusal(node)
        match name, arguments:
            case "max" | "min" | "sum", [ast.List(elts=items) | ast.Tuple(elts=items)]:
                arguments, is_list = items, True
            case _:
                is_list = False
        values = [self.value(argument) for argument in arguments]
        match name, values:
            case "abs", [value]:
                result: object = abs(value)
            case "round", [value]:
                result = round(value)
            case "round", [value, int(digits)] if abs(digits) <= MAX_DIGITS:
                result = round(value, digits)
            case "max", [_, *more] if more or is_list:
                result = max(values)
            case "min", [_, *more] if more or is_list:
                result = min(values)
            case "sum", _ if is_list:
                result = sum(values)
            case _:
                raise self._refusal(node)
        return self._checked(result, node)

    def _checked(self, value: object, node: ast.AST) -> Number:
        """Check that a value is a float or a whole number of limited length."""
        if isinstance(value, int):
            if abs(value) >= _MAX:
                raise _too_long()
            return value
        if isinstance(value, float):
            return value
        raise self._refusal(node)  # a root of a negative number is complex

    def _refusal(self, node: ast.AST) -> ToolError:
        text = ast.get_source_segment(self._source, node) or type(node).__name__
        text = escaped(text.strip().partition("\n")[0])
        if len(text) > 40:
            text = f"{text[:37]}..."
        return ToolError(
            "Only plain arithmetic can be evaluated here, such as (12 + 3) * 4: "
            f"`{text}` is not available."
        )


def _too_much() -> ToolError:
    return ToolError(f"The output must have at most {MAX_OUTPUT:,} characters.")


def _too_long() -> ToolError:
    return ToolError(f"A whole number may have at most {MAX_DIGITS:,} digits here.")
