from __future__ import annotations

import json
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptoss_mlx.errors import ToolError
from gptoss_mlx.harmony.builtin_tools import PYTHON
from gptoss_mlx.harmony.messages import Message
from gptoss_mlx.tools.python.tool import MAX_DIGITS, NO_OUTPUT, Python

many = settings(max_examples=500, deadline=None, database=None)


def run(source: str, tool: Python | None = None) -> str:
    """What the tool answers to some code."""
    return (tool or Python()).process(Message("assistant", source, recipient="python"))


def test_the_model_is_told_of_the_tool_as_it_was_trained() -> None:
    """Name and text are gpt-oss's own."""
    assert Python().instruction is PYTHON
    assert Python().name == "python"


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("(12 + 3) * 4", "60\n"),
        ("-7 // 2, ", None),
        ("-7 // 2", "-4\n"),
        ("-7 % 3", "2\n"),
        ("10 / 4", "2.5\n"),
        ("0.1 + 0.2", "0.30000000000000004\n"),
        ("10 / 5", "2.0\n"),
        ("2 ** 100", "1267650600228229401496703205376\n"),
        ("2 ** -2", "0.25\n"),
        ("1_000 * 0x10", "16000\n"),
        ("1e300 * 1e300", "inf\n"),
        ("abs(-3) + max(1, 2) - min(4.5, 3) + sum([1, 2, 3])", "8\n"),
        ("sum((0.5, 0.25))", "0.75\n"),
        ("sum([])", "0\n"),
        ("max([7])", "7\n"),
        ("round(2.675, 2)", "2.67\n"),
        ("round(2.5)", "2\n"),
        ("round(1234, -2)", "1200\n"),
        ("  6 * 7  # the answer", "42\n"),
        ("1; 2; 3", "3\n"),
        ("print(2 + 3)", "5\n"),
        ("print(1, 2.5)\nprint()\n3", "1 2.5\n\n3\n"),
        ("4\nprint(5)", "5\n"),
        ("a = b = 3\nb *= 2\nc = a + b\nc", "9\n"),
        ("", NO_OUTPUT),
        ("a = 1", NO_OUTPUT),
        ("# nothing", NO_OUTPUT),
        ("4\na = 1", NO_OUTPUT),
    ],
)
def test_arithmetic_is_shown_as_a_notebook_shows_it(source: str, shown: str | None) -> None:
    """The printed text, then the last line's value; each ends with a newline."""
    if shown is None:
        with pytest.raises(ToolError, match="not available"):
            run(source)
    else:
        assert run(source) == shown


@pytest.mark.parametrize(
    "text",
    [
        '{"code": "a = 6\\na * 7"}',
        '{"input": "6*7"}',
        '"6 * 7"',
        "```python\n6 * 7\n```",
        "```\n6 * 7",
        "```py\nprint(6 * 7)\n```\n",
        '{"code": "```python\\n6 * 7\\n```"}',
    ],
)
def test_code_in_json_or_in_a_fence_is_run(text: str) -> None:
    """Models write both, though code alone is asked for."""
    assert run(text) == "42\n"


def test_names_keep_their_values_between_calls() -> None:
    """The notebook that the model was promised; a call that fails changes nothing."""
    tool = Python()

    assert run("a = 6", tool) == NO_OUTPUT
    with pytest.raises(ToolError, match="division by zero"):
        run("a = 7\n1 / 0", tool)
    assert run("a * 7", tool) == "42\n"


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("import math", "import math"),
        ("math.sqrt(2)", "math.sqrt(2)"),
        ("open('/etc/passwd').read()", "open('/etc/passwd').read()"),
        ("__import__('os')", "__import__('os')"),
        ("x = 1\nif x:\n    print(x)", "if x:"),
        ("print('a')", "'a'"),
        ("print(1, end='')", "end=''"),
        ("[1, 2]", "[1, 2]"),
        ("sum(n for n in [1])", "(n for n in [1])"),
        ("a[0] = 1", "a[0]"),
        ("a, b = 1, 2", "1, 2"),
        ("1 if 2 else 3", "1 if 2 else 3"),
        ("7 ^ 2", "7 ^ 2"),
        ("1 << 9", "1 << 9"),
        ("~1", "~1"),
        ("True", "True"),
        ("2j", "2j"),
        ("(-8) ** 0.5", "(-8) ** 0.5"),
        ("lambda: 1", "lambda: 1"),
        ("abs(1, 2)", "abs(1, 2)"),
        ("abs([1])", "[1]"),
        ("max(1)", "max(1)"),
        ("max([])", "max([])"),
        ("sum(1, 2)", "sum(1, 2)"),
        ("round(1, 2.0)", "round(1, 2.0)"),
        ("round(5, -10 ** 9)", "round(5, -10 ** 9)"),
        ("round([5, 1])", "[5, 1]"),
        ("print(print(1))", "print(1)"),
        ("x = print(1)", "print(1)"),
        ("not 1" + "0" * 60, "not 1" + "0" * 32 + "..."),
        ('{"code": 1}', '{"code": 1}'),
    ],
)
def test_anything_else_is_refused_and_named(source: str, named: str) -> None:
    """The model is told what can be done, and what could not."""
    with pytest.raises(ToolError) as caught:
        run(source)

    beginning = "Only plain arithmetic can be evaluated here, such as (12 + 3) * 4: `"
    assert str(caught.value).startswith(beginning + named)
    assert str(caught.value).endswith("` is not available.")
    assert len(str(caught.value)) <= 140


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("10 ** 400 * 1.5", "OverflowError: int too large to convert to float"),
        ("round(1e400)", "OverflowError: cannot convert float infinity to integer"),
        ("round(1e400 - 1e400)", "ValueError: cannot convert float NaN to integer"),
        ("2 * speed", "NameError: name 'speed' is not defined"),
        ("a += 1", "NameError: name 'a' is not defined"),
        ("1\n2 +", "SyntaxError: invalid syntax (line 2)"),
        ("\x00", "SyntaxError: source code string cannot contain null bytes"),
    ],
)
def test_a_mistake_is_told_in_python_s_words(source: str, message: str) -> None:
    """With Python's own error texts, which the model was trained on."""
    with pytest.raises(ToolError) as caught:
        run(source)

    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "source",
    [
        "9 ** 9 ** 9",
        "9 ** 9 ** 9 ** 9",
        f"10 ** {MAX_DIGITS}",
        f"-10 ** {MAX_DIGITS}",
        f"a = 10 ** {MAX_DIGITS - 1}\na * 10",
        "a = 10 ** 3000\na * a",
        "\n".join(["a = 2", *["a *= a"] * 60]),
        "round(5.0, 10 ** 12)",
        "1" * (MAX_DIGITS + 1),
        "9" * 9_000,
        f"a = 10 ** {MAX_DIGITS - 1}\nprint({'a, ' * 3_000})",
        "\n".join(["a = 10 ** 3000", *["print(a)"] * 700]),
        "1" + " + 1" * 2_000,
        "-" * 9_000 + "1",
        "(" * 9_000,
        "[" * 100 + "]" * 100,
        "1 + " * 10_000_000 + "1",
        "x" * 10_000_000,
        '{"a":' * 1_900,
        "\n".join(f"a{n} = 1" for n in range(1_001)),
        "\ud800",
    ],
    ids=lambda source: source[:12],
)
def test_nothing_takes_long_or_much_memory(source: str) -> None:
    """Any code is refused within a second."""
    began = time.perf_counter()
    with pytest.raises(ToolError):
        run(source)

    assert time.perf_counter() - began < 1


def test_long_numbers_are_shown_whole() -> None:
    """Up to the bound, and one more digit is too many."""
    assert run(f"9 * 10 ** {MAX_DIGITS - 1}") == f"9{'0' * (MAX_DIGITS - 1)}\n"
    assert run(f"(-1) ** {'9' * 1_000}") == "-1\n"
    with pytest.raises(ToolError, match="at most 4,000 digits"):
        run(f"10 ** {MAX_DIGITS - 1} * 10")


def test_a_lower_limit_of_python_s_own_is_told() -> None:
    """``PYTHONINTMAXSTRDIGITS`` may be less than what is allowed here."""
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    try:
        with pytest.raises(ToolError, match="ValueError: Exceeds the limit"):
            run("10 ** 700")
    finally:
        sys.set_int_max_str_digits(limit)


def test_python_s_warnings_are_not_printed(capfd: pytest.CaptureFixture[str]) -> None:
    """``1if`` is one to Python's parser; nothing of the model's code is shown by itself."""
    with pytest.raises(ToolError, match="`1if 1else 2` is not available"):
        run("1if 1else 2")

    assert capfd.readouterr() == ("", "")


operators = st.sampled_from(["+", "-", "*", "/", "//", "%"])
powers = st.sampled_from(["** 2", "** 3", "** -1", "** 0.5"])
numbers = st.integers(0, 10**20) | st.floats(0, 1e20).map(abs)
expressions = st.recursive(
    numbers.map(repr),
    lambda inner: st.one_of(
        st.tuples(inner, operators, inner).map(" ".join),
        st.tuples(inner, powers).map(" ".join),
        inner.map("({})".format),
        inner.map("-{}".format),
        inner.map("abs({})".format),
        inner.map("round({}, 2)".format),
        st.lists(inner, min_size=2, max_size=4).map(lambda x: f"max({', '.join(x)})"),
        st.lists(inner, max_size=4).map(lambda x: f"sum([{', '.join(x)}])"),
    ),
    max_leaves=12,
)


@many
@given(expressions)
def test_results_are_python_s_own(expression: str) -> None:
    """To the last digit; and if Python raises an error, so does the tool."""
    try:
        expected = eval(expression)  # noqa: S307
    except ArithmeticError:
        expected = None
    if isinstance(expected, int | float):
        assert run(f"x = {expression}\nprint(x)") == f"{expected}\n"
    else:
        with pytest.raises(ToolError):
            run(expression)


@many
@given(st.text("0123456789+-*/%(). \n=abxprint,'\"[]{}:ef", max_size=40) | st.text())
def test_no_text_raises_anything_else(text: str) -> None:
    """A text is evaluated, or refused by name; as JSON's code too."""
    for source in (text, json.dumps({"code": text})):
        try:
            shown = run(source)
        except ToolError as error:
            shown = str(error)
        assert shown
