"""``gptoss-mlx chat``."""

from __future__ import annotations

from pathlib import Path

import typer

from gptoss_mlx.cli.options import ModelArg

__all__ = ["chat"]


def chat(model: ModelArg = "demo") -> None:
    """Chat with a model.

    In a terminal it prompts for questions until Ctrl-D or /quit; by pipe it answers each
    line. Answers go to stdout, the rest to stderr.

    Example: echo "What is gpt-oss?" | gptoss-mlx chat
    """
    # Imported here so that --help does not wait for MLX.
    import datetime
    import functools
    import io
    import sys

    from rich.console import Console

    from gptoss_mlx.chat.model_choice import model_folder
    from gptoss_mlx.chat.opening import open_tokens
    from gptoss_mlx.chat.session import Session
    from gptoss_mlx.chat.terminal import answer_lines, chat_in_terminal
    from gptoss_mlx.tokenizer import load_tokenizer

    say = functools.partial(typer.echo, err=True)
    with Console(stderr=True).status("Loading the model"):
        folder = model_folder(model, say)
        session = Session(
            open_tokens(folder),
            load_tokenizer(),
            current_date=datetime.date.today(),
        )
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    if sys.stdin.isatty() and sys.stdout.isatty():
        chat_in_terminal(session, sys.stdout, model=_title(model, folder))
    else:
        lines = (line.decode(errors="replace") for line in sys.stdin.buffer)
        answer_lines(session, lines, sys.stdout)


def _title(model: str, folder: Path) -> str:
    if model == "demo":
        return "The demo model, a miniature that has memorised twenty answers"
    return folder.name
