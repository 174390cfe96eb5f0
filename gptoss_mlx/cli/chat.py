"""``gptoss-mlx chat``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gptoss_mlx.cli.options import (
    EffortOpt,
    OptionalModelArg,
    SeedOpt,
    SystemOpt,
    TemperatureOpt,
    WireOpt,
)
from gptoss_mlx.cli.output import print_line, say

if TYPE_CHECKING:
    from pathlib import Path

    from gptoss_mlx.llm import LLM

__all__ = ["chat"]


def chat(
    model: OptionalModelArg = None,
    effort: EffortOpt = "medium",
    system: SystemOpt = None,
    show_reasoning: Annotated[
        bool,
        typer.Option("--show-reasoning", help="Print the reasoning too, in a terminal."),
    ] = False,
    temperature: TemperatureOpt = None,
    seed: SeedOpt = None,
    wire: WireOpt = True,
) -> None:
    """Chat with a model.

    In a terminal it prompts for questions until Ctrl-D or /quit; /help lists the commands
    and keys. By pipe it answers each line: answers go to stdout, the rest to stderr. With
    nothing on stdin it takes a tour of four questions.

    Example: echo "What is gpt-oss?" | gptoss-mlx chat
    """
    # Imported here so that --help does not wait for MLX.
    import io
    import itertools
    import sys

    from rich.console import Console

    from gptoss_mlx.chat.banner import banner_lines
    from gptoss_mlx.chat.keys import output_is_kept
    from gptoss_mlx.chat.pipe import answer_lines
    from gptoss_mlx.chat.terminal import chat_in_terminal
    from gptoss_mlx.cli.download import download_model
    from gptoss_mlx.cli.first_model import can_offer, choose_model
    from gptoss_mlx.device import this_machine
    from gptoss_mlx.llm import load

    machine = this_machine()
    chosen: str | Path
    if model is None:
        chosen = choose_model(machine, download_model, may_offer=can_offer())
    else:
        chosen = model
    with output_is_kept(), Console(stderr=True).status("Loading the model"):
        llm = load(chosen, wire=wire, say=say)
    conversation = llm.conversation(
        effort=effort, instructions=system, temperature=temperature, seed=seed
    )
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    if sys.stdin.isatty() and sys.stdout.isatty():
        banner = banner_lines(llm, effort, machine)
        chat_in_terminal(conversation, banner=banner, show_reasoning=show_reasoning)
        return
    lines = (line.decode(errors="replace") for line in sys.stdin.buffer)
    first = next(lines, None)
    if first is None:
        _take_tour(llm)
        return
    questions = itertools.chain([first], lines)
    if not answer_lines(conversation, questions, sys.stdout, sys.stderr):
        raise typer.Exit(1)


def _take_tour(llm: LLM) -> None:
    """Ask the tour's questions, which go to stderr; the answers go to stdout."""
    import sys

    from gptoss_mlx.demo.questions import TOUR

    for question in TOUR:
        say(f"> {question.question}")
        answer = llm.ask(question.question)
        print_line(" ".join(answer.text.split()))
        sys.stdout.flush()
