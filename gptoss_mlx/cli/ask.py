"""``gptoss-mlx ask``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gptoss_mlx.cli.options import (
    EffortOpt,
    JsonOpt,
    ModelOpt,
    SeedOpt,
    SystemOpt,
    TemperatureOpt,
)

if TYPE_CHECKING:
    from gptoss_mlx.conversation.turn import TurnEnd
    from gptoss_mlx.harmony.messages import Message
    from gptoss_mlx.llm import LLM

__all__ = ["ask"]


def ask(
    question: Annotated[
        str | None,
        typer.Argument(
            metavar="QUESTION",
            help="What to ask. Text on stdin goes before it, or is the question.",
            show_default=False,
        ),
    ] = None,
    model: ModelOpt = None,
    effort: EffortOpt = "medium",
    system: SystemOpt = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(
            min=1, help="The most to write, reasoning included.", show_default=False
        ),
    ] = None,
    temperature: TemperatureOpt = None,
    seed: SeedOpt = None,
    json: JsonOpt = False,
) -> None:
    """Ask one question, and print the answer.

    The answer goes to stdout as it is written, the rest to stderr. --json prints the
    messages, tokens and timings when it is whole.

    Example: git diff | gptoss-mlx ask "Write a commit message for this."
    """
    text = _question(question)
    # Imported here so that --help does not wait for MLX.
    import datetime
    import time
    from functools import partial

    from rich.console import Console

    from gptoss_mlx.cli.options import changed_sampling
    from gptoss_mlx.conversation.opening import opening_messages
    from gptoss_mlx.harmony.messages import Message
    from gptoss_mlx.llm import load

    begun = time.perf_counter()
    with Console(stderr=True).status("Loading the model"):
        runner = load(model, say=partial(typer.echo, err=True))
    source = runner.source
    source.sampling = changed_sampling(source.sampling, temperature, seed)
    load_s = time.perf_counter() - begun
    messages = opening_messages(
        effort=effort, instructions=system, current_date=datetime.date.today()
    )
    messages.append(Message("user", text))
    answer, end = _answer(runner, messages, max_tokens, quiet=json)
    if json:
        _print_json(runner, messages, answer, end, load_s)
    _check(answer, end)


def _question(question: str | None) -> str:
    """Put stdin and the argument together.

    Raises:
        AnswerError: There is neither, or stdin is no text.
    """
    import sys

    from gptoss_mlx.errors import AnswerError

    parts = [] if sys.stdin.isatty() else [_stdin()]
    if question is not None:
        parts.append(question)
    text = "\n\n".join(part.strip("\n") for part in parts if part.strip())
    if not text:
        raise AnswerError(
            "There must be a question but there is none.",
            hint='Ask one: gptoss-mlx ask "What is gpt-oss?"',
        )
    return text


def _stdin() -> str:
    import sys

    from gptoss_mlx.errors import AnswerError

    data = sys.stdin.buffer.read()
    if b"\0" in data:
        raise AnswerError(
            f"stdin must be text but has a zero byte after {data.index(0):,} bytes.",
            hint="Pass it through a program that makes text of it first.",
        )
    return data.decode("utf-8-sig", errors="replace")


def _answer(
    runner: LLM, messages: list[Message], max_tokens: int | None, *, quiet: bool
) -> tuple[str, TurnEnd]:
    """Let the model answer, and print the answer as it comes unless ``quiet``."""
    import io
    import sys
    from contextlib import closing

    from gptoss_mlx.cli.progress import token_progress
    from gptoss_mlx.conversation.answer import AnswerText
    from gptoss_mlx.conversation.turn import TurnEnd
    from gptoss_mlx.harmony.parse import Delta

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    answer = AnswerText()
    with token_progress() as progress:
        turn = runner.turn(messages, max_tokens=max_tokens, progress=progress.reading)
        with closing(turn):
            for event in turn:
                if isinstance(event, TurnEnd):
                    end = event
                elif (text := answer.push(event)) and not quiet:
                    progress.stop()
                    _print(text)
                elif isinstance(event, Delta):
                    progress.reasoning()
    if answer.text and not answer.text.endswith("\n") and not quiet:
        _print("\n")
    return answer.text, end


def _print(text: str) -> None:
    import sys

    from gptoss_mlx.chat.controls import without_controls

    sys.stdout.write(without_controls(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def _print_json(
    runner: LLM, messages: list[Message], answer: str, end: TurnEnd, load_s: float
) -> None:
    import json

    from gptoss_mlx.harmony.json_form import message_to_json

    usage = end.usage
    report: dict[str, Any] = {
        "model": str(runner.folder),
        "answer": answer,
        "reason": end.reason,
        "messages": [message_to_json(message) for message in messages],
        "tokens": {
            "prompt": usage.prompt_tokens,
            "generated": usage.generated_tokens,
            "reasoning": usage.reasoning_tokens,
            "context": usage.context_tokens,
        },
        "timings": {
            "load_s": round(load_s, 3),
            "prefill_s": round(usage.prefill_s, 3),
            "decode_s": round(usage.decode_s, 3),
            "prefill_tokens_per_s": round(usage.prompt_tokens / usage.prefill_s, 1),
            "decode_tokens_per_s": round(usage.tokens_per_s, 1),
        },
    }
    typer.echo(json.dumps(report, ensure_ascii=False, indent=2))


def _check(answer: str, end: TurnEnd) -> None:
    """Say why an answer is not whole.

    Raises:
        AnswerError: There is none, or the model did not end it.
    """
    from gptoss_mlx.errors import AnswerError

    written = f"{end.usage.generated_tokens:,} tokens"
    if end.reason == "length" and answer.strip():
        typer.echo(f"The answer was cut after {written}, as --max-tokens says.", err=True)
    elif end.reason == "length":
        raise AnswerError(
            f"The model must have room to answer but was still reasoning after {written}.",
            hint=f"Give it more: --max-tokens {10 * end.usage.generated_tokens}",
        )
    elif end.reason == "context":
        raise AnswerError(
            f"The answer must fit the context but was cut after {written}: it is full.",
            hint="Shorten what the question stands on, or ask with --effort low.",
        )
    elif end.reason == "repetition":
        raise AnswerError(
            f"The answer must come to an end but repeats itself: stopped after {written}.",
            hint="Ask again with another --seed or a --temperature of 1.",
        )
    elif not answer.strip():
        raise AnswerError(
            f"The model must answer but ended without one after {written}.",
            hint="Ask again, or see what it wrote: --json",
        )
