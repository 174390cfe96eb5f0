from __future__ import annotations

import pytest

from gptoss_mlx.harmony.builtin_tools import BROWSER, PYTHON
from gptoss_mlx.harmony.messages import Message, ToolDescription, ToolNamespace
from gptoss_mlx.tools.tool import Tool, tool_for


class Named(Tool):
    """A tool that only has an instruction."""

    def __init__(self, instruction: ToolNamespace) -> None:
        self._instruction = instruction

    @property
    def instruction(self) -> ToolNamespace:
        """What it was given."""
        return self._instruction

    def process(self, call: Message) -> str:
        """Say nothing."""
        return ""


def functions(*names: str) -> Tool:
    """The caller's own tools, by their names."""
    return Named(ToolNamespace("functions", tuple(ToolDescription(n, "") for n in names)))


TOOLS = [Named(PYTHON), Named(BROWSER), functions("weather")]


def test_a_tool_has_the_name_of_its_instruction() -> None:
    """One namespace each."""
    assert [tool.name for tool in TOOLS] == ["python", "browser", "functions"]


@pytest.mark.parametrize(
    ("recipient", "name", "known"),
    [
        ("python", "python", "python"),
        ("browser.search", "browser", "browser.search"),
        ("functions.weather", "functions", "functions.weather"),
        ("functions.python", "python", "python"),
        ("functions.browser.search", "browser", "browser.search"),
        # The tool itself says that it has no such function.
        ("browser.fly", "browser", "browser.fly"),
        ("functions.fly", "functions", "functions.fly"),
        ("functions", "functions", "functions"),
    ],
)
def test_a_call_finds_its_tool(recipient: str, name: str, known: str) -> None:
    """By the first word, or by the second if the model put functions before it."""
    found = tool_for(recipient, TOOLS)

    assert found is not None
    assert (found[0].name, found[1]) == (name, known)


@pytest.mark.parametrize(
    "recipient", ["", ".", "weather", "browserx.search", "Python", "container.exec"]
)
def test_what_no_tool_is_named_is_not_found(recipient: str) -> None:
    """A name must be the whole word."""
    assert tool_for(recipient, TOOLS) is None


def test_a_function_of_a_built_in_tool_s_name_is_found_first() -> None:
    """A function named python is found before the built-in tool."""
    own = functions("python")
    found = tool_for("functions.python", [Named(PYTHON), own])

    assert found == (own, "functions.python")


def test_a_built_in_tool_is_found_where_there_are_no_functions() -> None:
    """Models still write functions.python then."""
    python = Named(PYTHON)

    assert tool_for("functions.python", [python]) == (python, "python")
    assert tool_for("functions.weather", [python]) is None
