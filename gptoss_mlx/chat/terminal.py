"""The conversation on a terminal, and by pipe."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import closing
from typing import TextIO

from gptoss_mlx.chat.session import Session

__all__ = ["answer_lines", "chat_in_terminal"]

QUIT = "/quit"


def answer_lines(session: Session, lines: Iterable[str], output: TextIO) -> None:
    """Answer every line, in turn, and write nothing but the answers.

    Args:
        session: The conversation; every answer knows the earlier ones.
        lines: One question each. Empty ones are skipped, ``/quit`` ends it.
        output: Gets each answer as it is written, and a newline after it.
    """
    for line in lines:
        question = line.strip()
        if question == QUIT:
            return
        if question:
            for text in _final(session, question):
                output.write(text)
                output.flush()
            output.write("\n")
            output.flush()


def chat_in_terminal(session: Session, output: TextIO, *, model: str) -> None:
    """Ask for questions at a prompt until Ctrl-D or ``/quit``.

    Ctrl-C stops an answer, and clears a question that is being typed. While the model
    reasons, a dim line says so.
    """
    from prompt_toolkit import PromptSession
    from rich.console import Console

    prompt: PromptSession[str] = PromptSession("> ")
    console = Console(stderr=True, highlight=False)
    console.print(f"[dim]{model} · Ctrl-C stops an answer, Ctrl-D or {QUIT} leaves[/dim]")
    while True:
        try:
            question = prompt.prompt().strip()
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        if question == QUIT:
            return
        if not question:
            continue
        try:
            with closing(_final(session, question)) as texts:
                with console.status("[dim]Reasoning[/dim]"):
                    first = next(texts, "")
                output.write(without_controls(first))
                for text in texts:
                    output.write(without_controls(text))
                    output.flush()
            output.write("\n\n")
        except KeyboardInterrupt:
            output.write("\n")
            console.print("[dim]Stopped.[/dim]")
        output.flush()


def without_controls(text: str) -> str:
    """Leave out control characters, which could make a terminal do things."""
    return "".join(c for c in text if c.isprintable() or c in "\n\t")


def _final(session: Session, question: str) -> Generator[str]:
    """Stream the answer without the reasoning."""
    with closing(session.ask(question)) as deltas:
        for delta in deltas:
            if delta.channel == "final":
                yield delta.text
