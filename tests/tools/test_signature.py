from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypedDict

import pytest
from scripted import Scripted, call, turn

from gptoss_mlx.conversation.conversation import Conversation
from gptoss_mlx.errors import ToolError
from gptoss_mlx.harmony.messages import Message, ToolDescription
from gptoss_mlx.tokenizer import load_tokenizer
from gptoss_mlx.tools.browser.documents import Documents
from gptoss_mlx.tools.browser.tool import Browser
from gptoss_mlx.tools.functions import Function, Functions
from gptoss_mlx.tools.signature import function_from, read_tools


@dataclass
class Place:
    """Where something is."""

    city: str
    country: str = "Norway"


def forecast(
    place: Place, day: datetime.date, unit: Literal["C", "F"] = "C", *, hours: int = 24
) -> str:
    """Tell the weather.

    Rain is given in mm.

    Args:
        place: Where. Cities
            alone have stations.
        day: The day.
    """
    return f"{place.city}, {place.country}, {day:%d.%m.%Y}, {unit}, {hours}"


def described(function: Any) -> dict[str, Any]:
    """What the model is told of each argument."""
    parameters = function_from(function).description.parameters
    assert parameters is not None
    return dict(parameters["properties"])


def test_a_function_is_described_by_its_signature_and_its_docstring() -> None:
    """Name, text without its Args section, types, defaults, and what is required."""
    description = function_from(forecast).description

    assert description.name == "forecast"
    assert description.description == "Tell the weather.\n\nRain is given in mm."
    assert description.parameters is not None
    assert description.parameters["required"] == ["place", "day"]
    assert described(forecast)["day"] == {
        "type": "string",
        "format": "date",
        "description": "The day.",
    }
    assert described(forecast)["unit"] == {
        "type": "string",
        "enum": ["C", "F"],
        "default": "C",
    }
    assert described(forecast)["place"]["description"] == (
        "Where. Cities alone have stations."
    )


def test_arguments_arrive_in_the_types_of_the_signature() -> None:
    """A date is a date and a dataclass one of its own; defaults stand in."""
    tool = Functions([function_from(forecast)])
    arguments = {"place": {"city": "Oslo"}, "day": "2026-01-02", "hours": 3}
    called = Message("assistant", json.dumps(arguments), recipient="functions.forecast")

    assert tool.process(called) == "Oslo, Norway, 02.01.2026, C, 3"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"day": "2026-01-02"}, "'place' is a required property"),
        ({"place": {"city": 1}, "day": "2026-01-02"}, "1 is not of type 'string'"),
        ({"place": {"city": "Oslo"}, "day": "tomorrow"}, "date"),
        ({"place": {"city": "Oslo"}, "day": "2026-01-02", "wind": 1}, "'wind'"),
    ],
)
def test_wrong_arguments_are_told_to_the_model(
    arguments: dict[str, object], told: str
) -> None:
    """The function is not called."""
    tool = Functions([function_from(forecast)])
    called = Message("assistant", json.dumps(arguments), recipient="functions.forecast")
    with pytest.raises(ToolError, match="a") as caught:
        tool.process(called)

    assert told in str(caught.value)


def test_a_plain_function_is_called_by_the_model() -> None:
    """Beside other tools: they need not be wrapped."""

    def add(first: float, second: float) -> float:
        """Add two numbers."""
        return first + second

    model = Scripted(call("functions.add", '{"first": 2, "second": 3}'), turn("", "5."))
    now = Function(ToolDescription("now", "Tells the time."), lambda: "12:00")
    with Conversation(model, load_tokenizer(), tools=[add, Functions([now])]) as talk:
        answer = talk.ask("2 + 3?")

    assert answer.text == "5."
    assert answer.messages[1].text == "5.0"
    assert "// Add two numbers.\ntype add = (_: {" in model.prompts[0]
    assert "// Tells the time.\ntype now = () => any;" in model.prompts[0]


def test_other_tools_stay_as_they_are() -> None:
    """The caller's own object answers, and keeps what it knows."""
    browser = Browser(Documents([]))
    assert read_tools([browser]) == (browser,)
    assert [tool.name for tool in read_tools([forecast, browser])] == [
        "browser",
        "functions",
    ]


def test_a_function_without_arguments_has_no_parameters() -> None:
    """It may be a method, and may have no docstring."""

    class Clock:
        def now(self) -> str:
            return "12:00"

    function = function_from(Clock().now)

    assert function.description == ToolDescription("now", "", None)
    assert function.run() == "12:00"


async def later() -> str:
    """Cannot be a tool."""
    return ""


def by_place(city: str, /) -> str:
    """Cannot be a tool."""
    return city


def any_number(*cities: str) -> str:
    """Cannot be a tool."""
    return cities[0]


def a_socket(socket: object) -> str:
    """Cannot be a tool."""
    return str(socket)


a_socket.__annotations__["socket"] = memoryview


def unknown(city: str) -> str:
    """Cannot be a tool."""
    return city


unknown.__annotations__["city"] = "Nowhere"


class Spot(TypedDict):
    """Pydantic takes that of typing_extensions alone before Python 3.12."""

    city: str


class Camera:
    """Has no JSON schema."""


def with_callback(city: str, then: Callable[[int], int]) -> str:
    """Cannot be a tool."""
    return city * then(1)


def with_camera(city: str, camera: Camera) -> str:
    """Cannot be a tool."""
    return f"{city} {camera}"


def with_spot(place: Spot) -> str:
    """Can be a tool on Python 3.12."""
    return place["city"]


@pytest.mark.parametrize(
    ("tool", "told"),
    [
        (Camera, "'Camera' must be a function but is a class."),
        (print, "'print' must take arguments by name"),
        (with_callback, "but 'then' is a collections.abc.Callable[[int], int]."),
        (with_camera, "test_signature.Camera."),
        (unknown, "but the type of 'city', Nowhere, is not defined."),
        pytest.param(
            with_spot,
            "test_signature.Spot: take TypedDict from typing_extensions.",
            marks=pytest.mark.skipif(sys.version_info >= (3, 12), reason="is taken"),
        ),
        (later, "'later' must not be asynchronous"),
        (by_place, "'by_place' must take its arguments by name"),
        (any_number, "'any_number' must take"),
        (a_socket, "'a_socket' must take arguments by name, each with a type that JSON"),
        (unknown, "'unknown' must take"),
        (partial(forecast, unit="F"), "a function with a name"),
        (lambda: "", "'<lambda>'"),
        ("forecast", "a Tool or a function with a name but got 'forecast'"),
        (None, "but got None"),
    ],
)
def test_what_cannot_be_a_tool_is_refused(tool: Any, told: str) -> None:
    """Before the model is asked, with the tool's name."""
    with pytest.raises(ValueError, match="must") as caught:
        read_tools([tool])

    assert told in str(caught.value)
    assert "ydantic" not in str(caught.value)


@pytest.mark.parametrize("tools", [forecast, "forecast", Browser(Documents([]))])
def test_tools_must_be_a_list(tools: Any) -> None:
    """One tool alone is not, and neither is a text."""
    with pytest.raises(ValueError, match="must be a"):
        read_tools(tools)
