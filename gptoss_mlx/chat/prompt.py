"""The prompt at which questions are typed."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prompt_toolkit import PromptSession
from prompt_toolkit.application import run_in_terminal
from prompt_toolkit.completion import (
    CompleteEvent,
    Completer,
    Completion,
    PathCompleter,
)
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.key_binding.key_processor import KeyPressEvent

from gptoss_mlx.chat.commands import COMMANDS
from gptoss_mlx.harmony.messages import EFFORTS

__all__ = ["CommandCompleter", "Prompt"]


class Prompt:
    """Asks for a line, or several: pasted, or separated by Esc and Enter."""

    def __init__(self, show_reasoning: Callable[[], None]) -> None:
        """Begin with an empty history.

        Args:
            show_reasoning: Prints the last reasoning above the prompt; called on Ctrl-O.
        """
        self._session: PromptSession[str] = PromptSession(
            [("bold fg:ansicyan", "> ")],
            prompt_continuation="  ",
            enable_suspend=True,
            key_bindings=_bindings(show_reasoning),
            completer=CommandCompleter(),
            # If true, lines under the prompt stay reserved for the completions.
            complete_while_typing=Condition(lambda: self.text.startswith("/")),
            reserve_space_for_menu=len(COMMANDS) + 1,
        )

    @property
    def text(self) -> str:
        """The typed text, or the text when Ctrl-C was pressed."""
        return self._session.default_buffer.text

    def ask(self, default: str = "") -> str:
        """Ask, with ``default`` as the initial text.

        Raises:
            EOFError: Ctrl-D was pressed on an empty line.
            KeyboardInterrupt: Ctrl-C was pressed.
        """
        typed = self._session.prompt(default=default)
        # Bytes that are not text arrive as surrogates.
        return typed.encode(errors="surrogateescape").decode(errors="replace")


class CommandCompleter(Completer):
    """Completes commands, and the arguments of ``/effort``, ``/attach`` and ``/in``."""

    def __init__(self) -> None:
        self._paths = PathCompleter(expanduser=True)

    def get_completions(  # noqa: D102 - its base describes it
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        text = document.text_before_cursor
        if text.startswith(("/attach ", "/in ")):
            path = Document(text.partition(" ")[2].lstrip())
            yield from self._paths.get_completions(path, complete_event)
            return
        known: dict[str, str]
        if text.startswith("/effort "):
            begun, known = text.removeprefix("/effort "), dict.fromkeys(EFFORTS, "")
        elif text.startswith("/") and document.line_count == 1:
            begun, known = text[1:], {name: text for name, (_, text) in COMMANDS.items()}
        else:
            return
        for name, meaning in known.items():
            if name.startswith(begun):
                yield Completion(name, -len(begun), display_meta=meaning)


def _bindings(show_reasoning: Callable[[], None]) -> KeyBindings:
    bindings = KeyBindings()

    @bindings.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    @bindings.add("c-o")
    def _(event: KeyPressEvent) -> None:
        run_in_terminal(show_reasoning)

    return bindings
