from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from gptoss_mlx.chat import screen as screens
from gptoss_mlx.chat.screen import Screen
from gptoss_mlx.chat.turn_view import TurnView
from gptoss_mlx.conversation.turn_events import EndReason, ToolCall, ToolResult, TurnEnd
from gptoss_mlx.conversation.usage import Usage
from gptoss_mlx.harmony.messages import Message
from gptoss_mlx.harmony.parse import Delta

WEATHER = "functions.get_weather"
TIMES = re.compile(r"\d+\.\d s")


class Shown:
    """A turn on a screen of paper."""

    def __init__(self, *, unfolded: bool = False, terminal: bool = False) -> None:
        self._file = io.StringIO()
        console = Console(
            file=self._file, width=60, height=20, force_terminal=terminal, color_system=None
        )
        self.screen = Screen(console)
        self.view = TurnView(self.screen, context_tokens=1000, unfolded=unfolded)

    def text(self) -> str:
        """What was printed, with every time the same."""
        return TIMES.sub("0.0 s", self._file.getvalue())


def end(reason: EndReason = "stop") -> TurnEnd:
    """The last event of a turn."""
    return TurnEnd(reason, Usage())


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every event be seen."""
    monkeypatch.setattr(screens, "REFRESH_S", 0)
    monkeypatch.setattr(screens, "REST_PER_DRAW", 0)


def test_reasoning_is_one_line() -> None:
    """Without a word of it; the answer follows."""
    shown = Shown()
    with shown.screen:
        for text in ("Let", " me", " see."):
            shown.view.show(Delta("analysis", text))
        shown.view.show(Delta("final", "It is **so**."))
        shown.view.show(end())

    assert shown.text() == "thought for 0.0 s, 3 tokens\n\nIt is so.\n"


@pytest.mark.usefixtures("eager")
def test_while_the_model_reasons_a_line_says_for_how_long() -> None:
    """And which key shows more."""
    shown = Shown(terminal=True)
    with shown.screen:
        shown.view.show(Delta("analysis", "Let"))

    assert "Reasoning 0.0 s, 1 token · Ctrl-O shows it" in shown.text()


def test_reasoning_that_is_asked_for_is_printed() -> None:
    """As it is: Markdown in it stays what it is."""
    shown = Shown(unfolded=True)
    with shown.screen:
        shown.view.show(Delta("analysis", "*Hm*.\n\nSo"))
        shown.view.show(Delta("analysis", " [b]."))
        shown.view.show(Delta("final", "Yes."))
        shown.view.show(end())

    assert shown.text() == "*Hm*.\n\nSo [b].\n\nthought for 0.0 s, 2 tokens\n\nYes.\n"


def test_reasoning_unfolded_in_the_middle_is_printed_from_its_beginning() -> None:
    """Folded and unfolded again, each word is there once."""
    shown = Shown()
    with shown.screen:
        shown.view.show(Delta("analysis", "one "))
        shown.view.toggle()
        shown.view.show(Delta("analysis", "two "))
        shown.view.toggle()
        shown.view.show(Delta("analysis", "three "))
        shown.view.toggle()
        shown.view.show(Delta("analysis", "four"))
        shown.view.show(end())

    assert shown.text().split()[:4] == ["one", "two", "three", "four"]


def test_a_call_and_its_result_are_a_line_each() -> None:
    """Cut to the width; the text before the call is shown, the arguments are not twice."""
    shown = Shown()
    arguments = '{\n "city": "Bonn"}'
    call = Message("assistant", arguments, recipient=WEATHER)
    result = Message("tool", "23 degrees, " + "and sunny, " * 20)
    with shown.screen:
        shown.view.show(Delta("commentary", "I will *look*."))
        shown.view.show(
            Delta("commentary", '{\n "city": "Bonn"}', recipient=WEATHER, index=1)
        )
        shown.view.show(ToolCall(call))
        shown.view.show(ToolResult(call, result))
        shown.view.show(ToolResult(call, Message("tool", "Error: No."), refused=True))
        shown.view.show(Delta("final", "Sunny."))
        shown.view.show(end())
    lines = shown.text().splitlines()

    assert lines[:3] == [
        "I will look.",
        "",
        'called functions.get_weather({ "city": "Bonn"})',
    ]
    assert lines[3].startswith("result: 23 degrees, and sunny, ")
    assert lines[3].endswith("…")
    assert len(lines[3]) == 60
    assert lines[4:] == ["Error: No.", "", "Sunny."]


@pytest.mark.usefixtures("eager")
def test_a_call_that_is_written_is_seen() -> None:
    """A program may take long to write."""
    shown = Shown(terminal=True)
    with shown.screen:
        shown.view.show(Delta("analysis", "print(1)", recipient="python"))

    assert "Calling python, 1 token" in shown.text()
    assert "print" not in shown.text()


def test_a_channel_that_nobody_knows_is_shown() -> None:
    """Nothing that the model wrote is lost."""
    shown = Shown()
    with shown.screen:
        shown.view.show(Delta("remarks", "By the way."))
        shown.view.show(Delta("final", "Yes.", index=1))
        shown.view.show(end())

    assert shown.text() == "By the way.\n\nYes.\n"


def test_control_characters_and_markup_of_the_model_do_nothing() -> None:
    """In the answer, the reasoning, a call and its result."""
    shown = Shown(unfolded=True)
    evil = "\x1b[31m[red]x[/red]\x07"
    call = Message("assistant", evil, recipient=f"functions.{evil}")
    with shown.screen:
        shown.view.show(Delta("analysis", evil))
        shown.view.show(ToolCall(call))
        shown.view.show(ToolResult(call, Message("tool", evil)))
        shown.view.show(Delta("final", evil))
        shown.view.show(end())

    assert "\x1b" not in shown.text()
    assert "\x07" not in shown.text()
    assert shown.text().count("[red]x[/red]") == 5


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("length", "The answer was cut: it reached the token limit."),
        ("context", "The answer was cut: the context is full (1,000 tokens)."),
        ("repetition", "Stopped: the answer repeated itself."),
        ("calls", "Stopped: it kept calling tools."),
    ],
)
def test_an_answer_that_did_not_end_by_itself_says_so(reason: EndReason, said: str) -> None:
    """Under what was written."""
    shown = Shown()
    with shown.screen:
        shown.view.show(Delta("final", "It is"))
        shown.view.show(end(reason))

    assert shown.text().startswith(f"It is\n\n{said}")


def test_no_answer_is_said() -> None:
    """Also where only a call was, or white space."""
    for event in (Delta("analysis", "Hm."), Delta("final", " \n")):
        shown = Shown()
        with shown.screen:
            shown.view.show(Delta("commentary", "I will look."))
            shown.view.show(ToolCall(Message("assistant", "", recipient=WEATHER)))
            shown.view.show(event)
            shown.view.show(end())

        assert shown.text().endswith("(no answer)\n")


def test_an_answer_that_is_stopped_stays() -> None:
    """With what had not been printed yet, and no line of its reasoning is lost."""
    shown = Shown()
    with shown.screen:
        shown.view.show(Delta("final", "It is"))
        shown.view.stop()

    assert shown.text() == "It is\n\nStopped.\n"


@pytest.mark.usefixtures("eager")
def test_a_long_prompt_has_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """From when it is clear that it takes over a second; a short one has none."""
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    long, short = Shown(terminal=True), Shown(terminal=True)
    now = 0.5
    with long.screen:
        long.view.progress(1024, 5300)
    with short.screen:
        short.view.progress(1024, 1500)

    assert "Prefilling 1,024 of 5,300 tokens" in long.text()
    assert "Reading" not in short.text()


@pytest.mark.usefixtures("eager")
def test_a_model_that_writes_no_text_is_seen_to_be_at_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a second without a word."""
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    shown = Shown(terminal=True)
    with shown.screen:
        shown.view.tick()
        before = shown.text()
        now = 1.5
        shown.view.tick()

    assert "Waiting" not in before
    assert "Generating…" in shown.text()
