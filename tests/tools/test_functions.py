from __future__ import annotations

import asyncio
import datetime
import re
from typing import Any

import pytest

from gptoss_mlx.errors import ToolError
from gptoss_mlx.harmony.messages import Message, ToolDescription, ToolNamespace
from gptoss_mlx.harmony.parse import parse
from gptoss_mlx.harmony.render import render_message
from gptoss_mlx.tokenizer import load_tokenizer
from gptoss_mlx.tools.functions import Function, Functions
from gptoss_mlx.tools.tool import tool_for

WEATHER = ToolDescription(
    "weather",
    "Tells it.",
    {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer", "nullable": True},
            "unit": {"anyOf": [{"type": "string", "enum": ["C", "F"]}, {"type": "null"}]},
            "route": {"type": "array", "items": {"$ref": "#/$defs/Place"}},
        },
        "required": ["city"],
        "$defs": {"Place": {"type": "object", "properties": {"x": {"type": "number"}}}},
    },
)
CLOCK = ToolDescription("clock", "Tells the time.")


def make_call(content: str, name: str = "functions.weather") -> Message:
    """A call as the model writes it."""
    return Message("assistant", content, channel="commentary", recipient=name)


def answer(content: str, *, returned: object = "Sunny.") -> tuple[str, dict[str, Any]]:
    """Call a function; return what the model is shown, and the arguments that came."""
    came: dict[str, Any] = {}

    def run(**arguments: Any) -> object:
        came.update(arguments)
        return returned

    tool = Functions([Function(WEATHER, run), Function(CLOCK, lambda: "noon")])
    return tool.process(make_call(content)), came


def refusal(content: str) -> str:
    """Call a function that must not run; return what is wrong."""

    def run(**arguments: Any) -> object:
        raise AssertionError("was run")

    tool = Functions([Function(WEATHER, run), Function(CLOCK, lambda: "noon")])
    with pytest.raises(ToolError) as caught:
        tool.process(make_call(content))
    return str(caught.value)


@pytest.mark.parametrize("name", ["", "get weather", "f\n", "a/b", "<|end|>"])
def test_a_name_that_cannot_be_called_is_refused(name: str) -> None:
    """No recipient that a model writes would lead to it."""
    with pytest.raises(ValueError, match=re.escape(f"but got {name!r}.")):
        Functions([Function(ToolDescription(name, "Does."), print)])


@pytest.mark.parametrize("name", ["get_weather", "get-weather", "weather.get", "größe"])
def test_a_name_that_a_header_can_hold_is_called(name: str) -> None:
    """Also one with dots, as MCP servers have them, which look like namespaces."""
    tool = Functions([Function(ToolDescription(name, "Does."), lambda: "done")])
    call = render_message(make_call("{}", f"functions.{name}"), load_tokenizer())
    (read,) = parse(call, load_tokenizer())
    found = tool_for(read.message.recipient or "", [tool])

    assert found == (tool, f"functions.{name}")
    assert tool.process(read.message) == "done"


def test_a_function_gets_its_arguments_by_name() -> None:
    """Those that the model gave, and no others."""
    assert answer('{"city": "Oslo", "days": 2}') == (
        "Sunny.",
        {"city": "Oslo", "days": 2},
    )


def test_all_functions_are_one_namespace() -> None:
    """With the schemas as they were given."""
    tool = Functions([Function(WEATHER, print), Function(CLOCK, print)])

    assert tool.instruction == ToolNamespace("functions", (WEATHER, CLOCK))


@pytest.mark.parametrize("content", ["", " \n", "{}"])
def test_a_function_without_arguments_is_called_with_nothing(content: str) -> None:
    """Or with an empty object."""
    tool = Functions([Function(CLOCK, lambda: "noon")])

    assert tool.process(make_call(content, "functions.clock")) == "noon"


@pytest.mark.parametrize(
    ("returned", "shown"),
    [
        ("20 °C", "20 °C"),
        ({"unit": "°C", "degrees": [20, None]}, '{"unit": "°C", "degrees": [20, null]}'),
        (None, "null"),
        (datetime.date(2025, 8, 5), '"2025-08-05"'),
    ],
)
def test_a_result_is_text_or_json(returned: object, shown: str) -> None:
    """What JSON does not have is shown as Python prints it."""
    assert answer('{"city": "Oslo"}', returned=returned)[0] == shown


@pytest.mark.parametrize(
    "content",
    [
        '{"city": "Oslo", "days": null, "unit": null}',
        '{"city": "Oslo", "unit": "C", "route": [{"x": 1.5}]}',
        '{"city": "a\nb\tc"}',
    ],
)
def test_what_the_prompt_allows_is_let_through(content: str) -> None:
    """Null by either spelling, references, and line breaks that JSON would escape."""
    assert answer(content)[0] == "Sunny."


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{'city': 1}", "The arguments must be JSON: Expecting property name"),
        ('{"city": "Os', "The arguments must be JSON: Unterminated string"),
        ('{"city": "Oslo"} {}', "The arguments must be JSON: Extra data: line 1 column 18"),
        ("[" * 100_000, "The arguments must be JSON: maximum recursion depth exceeded"),
        ("1" * 5000, "The arguments must be JSON: Exceeds the limit"),
        ('["Oslo"]', 'The arguments must be a JSON object but are ["Oslo"].'),
        ("null", "The arguments must be a JSON object but are null."),
        ("", "The arguments are wrong. 'city' is a required property."),
        (
            '{"town": "Oslo"}',
            "The arguments are wrong. Additional properties are not allowed ('town' was "
            "unexpected); known are: 'city', 'days', 'unit', 'route'. "
            "'city' is a required property.",
        ),
        (
            '{"city": ["Oslo"], "days": "2", "unit": "K"}',
            "The arguments are wrong. city: ['Oslo'] is not of type 'string'. "
            "days: '2' is not of type 'integer'. unit: 'K' is not one of ['C', 'F'].",
        ),
        (
            '{"city": "Oslo", "route": [{}, {"x": "1"}]}',
            "The arguments are wrong. route[1].x: '1' is not of type 'number'.",
        ),
    ],
)
def test_wrong_arguments_are_told_in_words(content: str, told: str) -> None:
    """Each mistake with its place, up to three; the function is not run."""
    assert refusal(content).startswith(told)


def test_a_long_mistake_is_shortened_in_the_middle() -> None:
    """The rule stands at its end."""
    told = refusal('{"city": ["' + "x" * 10_000 + '"]}')

    assert len(told) < 400
    assert told.startswith("The arguments are wrong. city: ['xxx")
    assert told.endswith("xxx'] is not of type 'string'.")


def test_a_function_that_takes_any_arguments_gets_them() -> None:
    """The schema says so."""
    schema = {"properties": {"a": {}}, "additionalProperties": {"type": "integer"}}
    tool = Functions([Function(ToolDescription("f", "", schema), lambda **given: given)])

    assert tool.process(make_call('{"a": "x", "b": 1}', "functions.f")) == (
        '{"a": "x", "b": 1}'
    )
    with pytest.raises(ToolError, match="b: 'y' is not of type 'integer'"):
        tool.process(make_call('{"a": "x", "b": "y"}', "functions.f"))


def test_a_function_that_is_not_there_is_told_which_are() -> None:
    """By the names that the model is to write."""
    tool = Functions([Function(WEATHER, print), Function(CLOCK, print)])
    with pytest.raises(ToolError) as caught:
        tool.process(make_call("{}", "functions.wether"))

    assert str(caught.value) == (
        "There is no function 'wether'. "
        "The functions are: functions.weather, functions.clock."
    )


def test_what_a_function_raises_is_told_to_the_model() -> None:
    """With its kind, ``exit()`` too; a ToolError is its own words, and Ctrl-C goes on."""

    def calling(error: BaseException) -> str:
        def run() -> None:
            raise error

        tool = Functions([Function(CLOCK, run)])
        with pytest.raises(ToolError) as caught:
            tool.process(make_call("", "functions.clock"))
        assert error in (caught.value, caught.value.__cause__)
        return str(caught.value)

    assert calling(ValueError("no such city")) == "ValueError: no such city"
    assert calling(SystemExit(3)) == "SystemExit: 3"
    assert calling(ToolError("Ask for a city.")) == "Ask for a city."
    with pytest.raises(KeyboardInterrupt):
        calling(KeyboardInterrupt())


def test_a_result_that_is_no_json_is_told_to_the_model() -> None:
    """Such as a list that holds itself."""
    circle: list[object] = []
    circle.append(circle)
    with pytest.raises(ToolError, match="ValueError: Circular reference"):
        answer('{"city": "Oslo"}', returned=circle)


def test_a_schema_elsewhere_is_not_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    """No schema makes the program open an address."""
    opened: list[object] = []
    monkeypatch.setattr("urllib.request.urlopen", opened.append)
    schema = {"properties": {"a": {"$ref": "http://example.com/a.json"}}}
    tool = Functions([Function(ToolDescription("f", "", schema), print)])

    with pytest.raises(ToolError, match=r"cannot be checked: .*example.com/a.json"):
        tool.process(make_call('{"a": 1}', "functions.f"))
    assert opened == []


def test_two_functions_of_one_name_are_a_caller_s_mistake() -> None:
    """The model could not tell them apart."""
    with pytest.raises(ValueError, match=r"\[Functions\] names must differ but 'clock' is"):
        Functions([Function(CLOCK, print), Function(CLOCK, print)])


def test_a_schema_that_is_none_is_a_caller_s_mistake() -> None:
    """It is said when the function is offered, and not when it is called."""
    wrong = ToolDescription("f", "", {"properties": {"a": {"type": "text"}}})

    with pytest.raises(
        ValueError, match=r"parameters of 'f' must be a JSON schema: 'text'"
    ):
        Functions([Function(wrong, print)])


class UnprintableError(Exception):
    """Has no message."""

    def __str__(self) -> str:
        """Fail."""
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (
            UnprintableError(),
            "UnprintableError: its message cannot be shown (RuntimeError)",
        ),
        (asyncio.CancelledError("late"), "CancelledError: late"),
        (GeneratorExit("over"), "GeneratorExit: over"),
        (BaseException("all"), "BaseException: all"),
    ],
)
def test_whatever_a_function_raises_is_told_to_the_model(
    raised: BaseException, told: str
) -> None:
    """The call is refused, and the turn goes on."""

    def run() -> None:
        raise raised

    with pytest.raises(ToolError) as caught:
        Functions([Function(CLOCK, run)]).process(make_call("{}", "functions.clock"))

    assert str(caught.value) == told


def test_ctrl_c_in_a_function_is_the_user_s() -> None:
    """It ends the turn."""

    def run() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Functions([Function(CLOCK, run)]).process(make_call("{}", "functions.clock"))
