"""The chat on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from gptoss_mlx.chat.attach import Attached
from gptoss_mlx.chat.commands import READING, Command, Next, read_line, run_command
from gptoss_mlx.chat.in_library import passages_alone, sources_after
from gptoss_mlx.chat.interrupts import Interrupts
from gptoss_mlx.chat.keys import Keys
from gptoss_mlx.chat.notices import ContextNotice
from gptoss_mlx.chat.prompt import Prompt
from gptoss_mlx.chat.reasoning import reasoning_text
from gptoss_mlx.chat.screen import Screen
from gptoss_mlx.chat.streaming_note import StreamingNote
from gptoss_mlx.chat.turn_view import TurnView
from gptoss_mlx.controls import escaped, without_controls
from gptoss_mlx.conversation.answer import collect
from gptoss_mlx.conversation.conversation import Conversation
from gptoss_mlx.conversation.turn_events import ToolCall, TurnEvent
from gptoss_mlx.errors import GptOssError
from gptoss_mlx.model.streaming import Streaming

__all__ = ["chat_in_terminal"]

LEAVES = "Ctrl-D or /quit leaves"


def chat_in_terminal(
    conversation: Conversation,
    *,
    banner: Sequence[str],
    question: str | None = None,
    show_reasoning: bool = False,
    streaming: Streaming | None = None,
    console: Console | None = None,
) -> None:
    """Ask for questions at a prompt until Ctrl-D or ``/quit``.

    Ctrl-C stops an answer, and clears a question that is being typed.

    Args:
        conversation: The conversation.
        banner: Lines to print first.
        question: A question to answer first.
        show_reasoning: Whether to print the reasoning.
        streaming: The model's, if it streams: what that cost is said after each answer.
        console: The console to print on. None: stdout.
    """
    console = console or Console(markup=False, emoji=False, highlight=False)
    chat = _Chat(conversation, console, show_reasoning, streaming)
    for line in banner:
        chat.say(line)
    chat.say(f"/help lists the commands, Ctrl-C stops an answer, {LEAVES}")
    chat.run(question)


class _Chat:
    """A chat in progress."""

    def __init__(
        self,
        conversation: Conversation,
        console: Console,
        show_reasoning: bool,
        streaming: Streaming | None = None,
    ) -> None:
        self._conversation = conversation
        self._console = console
        self._show_reasoning = show_reasoning
        self._prompt = Prompt(self._show_last_reasoning)
        self._notice = ContextNotice()
        self._streamed = StreamingNote(streaming)
        self._attached = Attached()
        self._default = ""  # initial text of the next prompt
        self._interrupts = 0  # Ctrl-C in a row

    def say(self, line: str) -> None:
        """Print a dim line. Where it is wrapped, its indentation stays."""
        text = escaped(line)
        indent = len(text) - len(text.lstrip(" "))
        shown = Text(text.lstrip(" "), style="dim")
        self._console.print(Padding.indent(shown, indent) if indent else shown)

    def run(self, question: str | None = None) -> None:
        """Answer lines until the user leaves, after a first question if there is one."""
        while True:
            try:
                if question is not None:
                    self.say(f"> {question}")
                    first, question = question, None
                    self._answer(first)
                line = read_line(self._ask())
                if isinstance(line, Command):
                    if self._run(line) is Next.QUIT:
                        return
                elif line:
                    self._answer(line)
            except EOFError:
                return
            except KeyboardInterrupt:
                self._interrupted()

    def _run(self, command: Command) -> Next:
        run = partial(run_command, command, self._conversation, self.say, self._attached)
        if command.name not in READING:
            return run()
        # It may take long. What is typed meanwhile is for the next prompt.
        with Keys() as keys:
            follows = run()
        self._default = keys.text
        return follows

    def _ask(self) -> str:
        default, self._default = self._default, ""
        line = self._prompt.ask(default)
        self._interrupts = 0
        return line

    def _interrupted(self) -> None:
        self._interrupts = 0 if self._prompt.text.strip() else self._interrupts + 1
        if self._interrupts > 1:
            self.say(f"{LEAVES}.")

    def _answer(self, question: str) -> None:
        """Ask the model, and show its answer."""
        files = self._attached.files
        text = self._attached.take(question)
        try:
            lines = passages_alone(self._conversation, text)
            if lines is None:
                with Keys() as keys:
                    self._show_turn(text, keys)
                self._default = keys.text
                lines = sources_after(self._conversation)
                lines[:0] = [""] if lines else []
            for line in lines:
                self.say(line)
        except GptOssError as error:
            self._attached.files = files
            self.say(str(error))
            self.say(error.hint)
            self._default = question
        self._console.print()

    def _show_turn(self, question: str, keys: Keys) -> None:
        limit = self._conversation.source.context_tokens
        with Interrupts() as interrupts, Screen(self._console) as screen:
            view = TurnView(screen, context_tokens=limit, unfolded=self._show_reasoning)

            def watch() -> None:
                interrupts.check()
                for _ in range(keys.poll()):
                    view.toggle()
                view.tick()

            def show(event: TurnEvent) -> None:
                interrupts.anywhere = False
                view.show(event)
                # Next the tool itself runs, which may take long.
                interrupts.anywhere = isinstance(event, ToolCall)

            self._streamed.begin()
            turn = self._conversation.stream(question, progress=view.progress, watch=watch)
            try:
                answer = collect(turn, on_event=show)
            except KeyboardInterrupt:
                interrupts.anywhere = False
                view.stop()
                self._interrupts = 1
                return
            except GptOssError:
                view.finish()
                raise
            said = self._notice.after(answer.usage, context_tokens=limit)
            if said is not None:
                screen.note(said, style="yellow")
            if (streamed := self._streamed.after()) is not None:
                screen.note(streamed)

    def _show_last_reasoning(self) -> None:
        """Print the reasoning of the last answer."""
        thoughts: list[str] = []
        for message in self._conversation.messages:
            if message.role == "user":
                thoughts.clear()
            elif message.channel == "analysis" and message.recipient is None:
                thoughts += [part for part in message.parts if isinstance(part, str)]
        text = without_controls("\n\n".join(thoughts)).strip()
        self._console.print(reasoning_text(text or "There is no reasoning."))
        self._console.print()
