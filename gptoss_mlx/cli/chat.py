"""``gptoss-mlx chat``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from gptoss_mlx.cli.in_library import InOpt, PrefetchOpt
from gptoss_mlx.cli.options import (
    EffortOpt,
    MaxTokensOpt,
    MemoryBudgetOpt,
    ModelOpt,
    OptionalModelArg,
    ResidentOpt,
    SeedOpt,
    ShowReasoningOpt,
    SystemOpt,
    TemperatureOpt,
    TopPOpt,
    WireOpt,
    check_residency,
    one_model,
)
from gptoss_mlx.cli.output import print_line, say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gptoss_mlx.conversation.conversation import Conversation
    from gptoss_mlx.llm import LLM

__all__ = ["chat"]


def chat(
    context: typer.Context,
    model_name: OptionalModelArg = None,
    within: InOpt = None,
    prefetch: PrefetchOpt = True,
    model: ModelOpt = None,
    effort: EffortOpt = "medium",
    system: SystemOpt = None,
    max_tokens: MaxTokensOpt = None,
    show_reasoning: ShowReasoningOpt = False,
    temperature: TemperatureOpt = None,
    top_p: TopPOpt = None,
    seed: SeedOpt = None,
    wire: WireOpt = True,
    resident: ResidentOpt = None,
    memory_budget: MemoryBudgetOpt = None,
) -> None:
    """Chat with a model.

    In a terminal it prompts for questions until Ctrl-D or /quit; /help lists the commands
    and keys. By pipe each line is a question, also one that begins with a slash: answers go
    to stdout, the rest to stderr. The exit status is 1 if one of them was not answered to
    its end, and 3 if one was answered from files without a source that holds. With empty
    stdin it asks the model four questions.

    Example: echo "What is gpt-oss?" | gptoss-mlx chat
    """
    model = one_model(model_name, model)
    check_residency(resident, memory_budget)
    # Imported here so that --help does not wait for MLX.
    import sys

    from rich.console import Console

    from gptoss_mlx.chat.banner import banner_lines
    from gptoss_mlx.chat.keys import output_is_kept
    from gptoss_mlx.chat.terminal import chat_in_terminal
    from gptoss_mlx.cli.download import download_model
    from gptoss_mlx.cli.first_model import Choice, can_offer, choose_model
    from gptoss_mlx.cli.in_library import open_library
    from gptoss_mlx.device import this_machine
    from gptoss_mlx.llm import load

    library = open_library(within, context)
    machine = this_machine()
    if model is None:
        chosen = choose_model(machine, download_model, may_offer=can_offer())
    else:
        chosen = Choice(model)
    with output_is_kept(), Console(stderr=True).status("Loading the model"):
        llm = load(
            chosen.model,
            wire=wire,
            resident=resident,
            memory_budget=memory_budget,
            say=say,
        )
    conversation = llm.conversation(
        effort=effort,
        instructions=system,
        library=library,
        prefetch=prefetch,
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
            streaming=llm.streaming,
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
    status = answer_lines(conversation, questions, sys.stdout, say, streaming=llm.streaming)
    if status:
        raise typer.Exit(status)


def _take_tour(llm: LLM) -> None:
    """Ask the tour's questions: they go to stderr, the answers to stdout."""
    import sys

    from gptoss_mlx.demo.questions import TOUR

    for question in TOUR:
        say(f"> {question.question}")
        answer = llm.ask(question.question)
        print_line(" ".join(answer.text.split()))
        sys.stdout.flush()
