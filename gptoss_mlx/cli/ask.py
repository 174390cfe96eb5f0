"""``gptoss-mlx ask``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gptoss_mlx.cli.options import (
    EffortOpt,
    JsonOpt,
    MaxTokensOpt,
    ModelOpt,
    SeedOpt,
    ShowReasoningOpt,
    SystemOpt,
    TemperatureOpt,
    TopPOpt,
    WireOpt,
    complete_model,
)
from gptoss_mlx.cli.output import print_json, say, write_answer, write_reasoning

if TYPE_CHECKING:
    from gptoss_mlx.conversation.answer import Answer
    from gptoss_mlx.conversation.conversation import Conversation
    from gptoss_mlx.conversation.turn_events import TurnEvent
    from gptoss_mlx.llm import LLM

__all__ = ["ask"]


def ask(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL] QUESTION",
            help="The question. Quote characters that the shell expands, such as ? and *. "
            "Stdin, if any, is put before it.",
            autocompletion=complete_model,
            show_default=False,
        ),
    ] = None,
    model: ModelOpt = None,
    effort: EffortOpt = "medium",
    system: SystemOpt = None,
    max_tokens: MaxTokensOpt = None,
    show_reasoning: ShowReasoningOpt = False,
    temperature: TemperatureOpt = None,
    top_p: TopPOpt = None,
    seed: SeedOpt = None,
    wire: WireOpt = True,
    json: JsonOpt = False,
) -> None:
    """Ask one question, and print the answer.

    The answer goes to stdout as it is written, the rest to stderr. --json prints
    messages, tokens and timings at the end.

    Example: git diff | gptoss-mlx ask "Write a commit message for this."
    """
    model, question = _read_words(words or [], model)
    text = _question(question)
    # Imported here so that --help does not wait for MLX.
    import time

    from rich.console import Console

    from gptoss_mlx.chat.keys import output_is_kept
    from gptoss_mlx.llm import load

    begun = time.perf_counter()
    with output_is_kept(), Console(stderr=True).status("Loading the model"):
        llm = load(model, wire=wire, say=say)
    load_s = time.perf_counter() - begun
    conversation = llm.conversation(
        effort=effort,
        instructions=system,
        temperature=temperature,
        top_p=top_p,
        max_tokens=max_tokens,
        seed=seed,
    )
    answer = _answer(conversation, text, quiet=json, show_reasoning=show_reasoning)
    if json:
        _print_json(llm, conversation, answer, load_s)
    _check(answer)


def _read_words(words: list[str], model: str | None) -> tuple[str | None, str | None]:
    """Separate the model from the question: ``ask 20b "Why?"``, or ``ask why is that``.

    Returns:
        The model and the question; None for a missing one.
    """
    from gptoss_mlx.released_names import is_released_or_demo
    from gptoss_mlx.store import is_model

    if model is None and len(words) == 2 and is_model(words[0]):
        return words[0], words[1]
    if model is None and len(words) == 1 and is_released_or_demo(words[0]):
        return words[0], None
    return model, " ".join(words) if words else None


def _question(question: str | None) -> str:
    """Join stdin and the argument to one question.

    Raises:
        AnswerError: Both are empty, or stdin is not text.
    """
    import sys

    from gptoss_mlx.errors import AnswerError

    parts = [] if sys.stdin.isatty() else [_stdin()]
    if question is not None:
        parts.append(question)
    text = "\n\n".join(part.strip("\n") for part in parts if part.strip())
    if not text:
        raise AnswerError(
            "A question is missing.",
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
            hint="Convert it to text first.",
        )
    return data.decode("utf-8-sig", errors="replace")


def _answer(
    conversation: Conversation, question: str, *, quiet: bool, show_reasoning: bool
) -> Answer:
    """Run the model, and print the answer as it is written unless ``quiet``.

    The reasoning goes to stderr.
    """
    from gptoss_mlx.cli.progress import token_progress
    from gptoss_mlx.conversation.answer import audience, collect
    from gptoss_mlx.harmony.parse import Delta

    written = ""
    with token_progress() as progress:

        def show(event: TurnEvent) -> None:
            if not isinstance(event, Delta) or audience(event) == "user":
                return
            if show_reasoning and audience(event) == "reasoning":
                progress.stop()
                write_reasoning(event.text)
            else:
                progress.reasoning()

        def write(text: str) -> None:
            nonlocal written
            if not quiet:
                progress.stop()
                write_answer(text)
                written = text

        turn = conversation.stream(question, progress=progress.reading)
        try:
            return collect(turn, on_event=show, on_text=write)
        finally:
            if written and not written.endswith("\n"):
                write_answer("\n")


def _print_json(
    llm: LLM, conversation: Conversation, answer: Answer, load_s: float
) -> None:
    import mlx.core as mx

    from gptoss_mlx.harmony.json_form import message_to_json

    usage = answer.usage
    report: dict[str, Any] = {
        "model": str(llm.folder),
        "answer": answer.text,
        "reason": answer.reason,
        "messages": [message_to_json(message) for message in conversation.messages],
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
            "prefill_tokens_per_s": round(usage.prefill_tokens_per_s, 1),
            "decode_tokens_per_s": round(usage.tokens_per_s, 1),
        },
        "memory": {
            "active_bytes": mx.get_active_memory(),
            "cached_bytes": mx.get_cache_memory(),
            "peak_bytes": mx.get_peak_memory(),
        },
    }
    print_json(report)


def _check(answer: Answer) -> None:
    """Report why an answer is incomplete.

    Raises:
        AnswerError: There is no answer, or the model did not complete it.
    """
    from gptoss_mlx.errors import AnswerError

    written = f"{answer.usage.generated_tokens:,} tokens"
    if answer.reason == "length" and answer.text.strip():
        say(f"The answer was cut after {written} by --max-tokens.")
    elif answer.reason == "length":
        raise AnswerError(
            f"The model was still reasoning after {written}, without an answer.",
            hint=f"Allow more tokens: --max-tokens {10 * answer.usage.generated_tokens}",
        )
    elif answer.reason == "context":
        raise AnswerError(
            f"The answer was cut after {written}: the context is full.",
            hint="Shorten the input, or ask with --effort low.",
        )
    elif answer.reason == "repetition":
        raise AnswerError(
            f"The answer was stopped after {written}: it repeats itself.",
            hint="Ask again with another --seed or a --temperature of 1.",
        )
    elif not answer.text.strip():
        raise AnswerError(
            f"The model ended without an answer after {written}.",
            hint="Ask again, or see all of its output: --json",
        )
