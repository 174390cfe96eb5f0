"""``gptoss-mlx chat``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from gptoss_mlx.cli.options import (
    EffortOpt,
    MaxTokensOpt,
    ModelOpt,
    OptionalModelArg,
    SeedOpt,
    ShowReasoningOpt,
    SystemOpt,
    TemperatureOpt,
    TopPOpt,
    WireOpt,
    one_model,
)
from gptoss_mlx.cli.output import print_line, say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gptoss_mlx.conversation.conversation import Conversation
    from gptoss_mlx.llm import LLM

__all__ = ["chat"]


def chat(
    model_name: OptionalModelArg = None,
    model: ModelOpt = None,
    effort: EffortOpt = "medium",
    system: SystemOpt = None,
    max_tokens: MaxTokensOpt = None,
    show_reasoning: ShowReasoningOpt = False,
    temperature: TemperatureOpt = None,
    top_p: TopPOpt = None,
    seed: SeedOpt = None,
    wire: WireOpt = True,
) -> None:
    """Chat with a model.

    In a terminal it prompts for questions until Ctrl-D or /quit; /help lists the commands
    and keys. By pipe it answers each line: answers go to stdout, the rest to stderr. With
    empty stdin it asks the model four questions.

    Example: echo "What is gpt-oss?" | gptoss-mlx chat
    """
    model = one_model(model_name, model)
    # Imported here so that --help does not wait for MLX.
    import sys

    from rich.console import Console

    from gptoss_mlx.chat.banner import banner_lines
    from gptoss_mlx.chat.keys import output_is_kept
    from gptoss_mlx.chat.terminal import chat_in_terminal
    from gptoss_mlx.cli.download import download_model
    from gptoss_mlx.cli.first_model import Choice, can_offer, choose_model
    from gptoss_mlx.device import this_machine
    from gptoss_mlx.llm import load

    machine = this_machine()
    if model is None:
        chosen = choose_model(machine, download_model, may_offer=can_offer())
    else:
        chosen = Choice(model)
    with output_is_kept(), Console(stderr=True).status("Loading the model"):
        llm = load(chosen.model, wire=wire, say=say)
    conversation = llm.conversation(
        effort=effort,
        instructions=system,
        temperature=temperature,
        top_p=top_p,
        max_tokens=max_tokens,
        seed=seed,
    )
    if sys.stdin.isatty() and sys.stdout.isatty():
        banner = banner_lines(llm, effort, machine)
        chat_in_terminal(
            conversation,
            banner=banner,
            question=chosen.question,
            show_reasoning=show_reasoning,
        )
    else:
        _chat_by_pipe(llm, conversation, chosen.question)


def _chat_by_pipe(llm: LLM, conversation: Conversation, question: str | None) -> None:
    """Answer a first question, if there is one, and each line of stdin."""
    import itertools
    import sys

    from gptoss_mlx.chat.pipe import answer_lines

    lines: Iterator[str] = (line.decode(errors="replace") for line in sys.stdin.buffer)
    if question is not None:
        lines = itertools.chain([question], lines)
    first = next(lines, None)
    if first is None:
        _take_tour(llm)
        return
    questions = itertools.chain([first], lines)
    if not answer_lines(conversation, questions, sys.stdout, say):
        raise typer.Exit(1)


def _take_tour(llm: LLM) -> None:
    """Ask the tour's questions: they go to stderr, the answers to stdout."""
    import sys

    from gptoss_mlx.demo.questions import TOUR

    for question in TOUR:
        say(f"> {question.question}")
        answer = llm.ask(question.question)
        print_line(" ".join(answer.text.split()))
        sys.stdout.flush()
