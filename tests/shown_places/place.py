"""A place where text of others is shown."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from gptoss_mlx.cli.app import main
from gptoss_mlx.errors import GptOssError

__all__ = ["PLACES", "Paper", "Place", "Shown", "place"]


class Paper(io.TextIOBase):
    """What is printed on, a terminal or not."""

    def __init__(self, is_terminal: bool) -> None:
        self.text = ""
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        """Whether it says that it is a terminal."""
        return self._is_terminal

    def write(self, text: str) -> int:
        """Take what is printed."""
        self.text += text
        return len(text)


@dataclass(frozen=True)
class Shown:
    """What a place has to work with.

    Attributes:
        text: Of others.
        folder: Empty, and also where models are kept.
        is_terminal: Whether stdout and stderr are one.
    """

    text: str
    folder: Path
    is_terminal: bool

    @property
    def name(self) -> str:
        """The text as a file can be named."""
        return self.text.replace("/", "").replace("\0", "\1")

    def command(self, *arguments: str) -> None:
        """Run a command, with its errors."""
        with patch("sys.argv", ["gptoss-mlx", *arguments]), suppress(SystemExit):
            main()


@dataclass(frozen=True)
class Place:
    """A place where text of others is shown.

    Attributes:
        show: Prints it, returns it, or raises it in an error.
        one_line: Whether it must be one line, whatever is in it.
    """

    show: Callable[[Shown], object]
    one_line: bool

    def shown(self, text: str, folder: Path, *, is_terminal: bool) -> str:
        """Return all that a reader sees."""
        paper = Paper(is_terminal)
        plain = patch.dict(
            "os.environ", {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "200"}
        )
        with redirect_stdout(paper), redirect_stderr(paper), plain:
            try:
                returned = self.show(Shown(text, folder, is_terminal))
            except GptOssError as error:
                notes = "".join(f"{note}\n" for note in error.__notes__)
                returned = f"{error}\n{error.hint}\n{notes}"
        return paper.text + (returned if isinstance(returned, str) else "")


PLACES: dict[str, Place] = {}


def place(
    name: str, *, one_line: bool = True
) -> Callable[[Callable[[Shown], object]], None]:
    """Add a function to the places."""

    def add(show: Callable[[Shown], object]) -> None:
        PLACES[name] = Place(show, one_line)

    return add
