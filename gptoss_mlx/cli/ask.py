"""``gptoss-mlx ask``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from gptoss_mlx.cli.in_library import InOpt, PrefetchOpt
from gptoss_mlx.cli.options import (
    EffortOpt,
    JsonOpt,
    MaxTokensOpt,
    MemoryBudgetOpt,
    ModelOpt,
    ResidentOpt,
    SeedOpt,
    ShowReasoningOpt,
    StatsOpt,
    SystemOpt,
    TemperatureOpt,
    TopPOpt,
    WireOpt,
    check_residency,
)
from gptoss_mlx.cli.output import print_json, say, write_answer, write_reasoning
from gptoss_mlx.cli.question import (
    FilesOpt,
    Question,
    QuestionArg,
    read_question,
    read_words,
)

if TYPE_CHECKING:
    from gptoss_mlx.conversation.answer import Answer
    from gptoss_mlx.conversation.turn_events import TurnEvent
    from gptoss_mlx.grounding.answer import GroundedAnswer
    from gptoss_mlx.grounding.grounded_conversation import GroundedConversation
    from gptoss_mlx.llm import LLM

__all__ = ["ask"]


def ask(
    context: typer.Context,
    words: QuestionArg = None,
    files: FilesOpt = None,
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
    stats: StatsOpt = False,
    json: JsonOpt = False,
) -> None:
    """Ask one question, and print the answer.

    The answer goes to stdout as it is written, the rest to stderr. --json prints
    messages, tokens and timings at the end. With --in, the answer's sources follow it, and
    the exit status is 3 if none of them holds.

    Example: git diff | gptoss-mlx ask "Write a commit message for this."
    """
    check_residency(resident, memory_budget)
    model, words_asked = read_words(words or [], model)
    question = read_question(words_asked, files or [])
    # Imported here so that --help does not wait for MLX.
    import time

    from gptoss_mlx.cli.in_library import open_library
    from gptoss_mlx.cli.sources import check_sources, write_sources

    library = open_library(within, context)
    begun = time.perf_counter()
    llm = _load(model, question, wire=wire, resident=resident, memory_budget=memory_budget)
    load_s = time.perf_counter() - begun
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
    answer = _answer(
        conversation, question.prompt, quiet=json, show_reasoning=show_reasoning
    )
    if stats:
        _say_stats(llm, answer, load_s)
    if json:
        _print_json(llm, conversation, answer, load_s)
    elif library is not None:
        write_sources(answer)
    if library is None or answer.reason not in ("stop", "calls"):
        _check(answer)
    if library is not None:
        check_sources(answer)


def _load(model: str | None, question: Question, **options: Any) -> LLM:
    """Load the model, unless the question is too long for it."""
    from rich.console import Console

    from gptoss_mlx.chat.keys import output_is_kept
    from gptoss_mlx.llm import load
    from gptoss_mlx.model.loading import plan_checkpoint
    from gptoss_mlx.model_choice import open_model

    with output_is_kept(), Console(stderr=True).status("Loading the model"):
        checkpoint = open_model(model, say)
        plan = plan_checkpoint(
            checkpoint,
            resident=options["resident"],
            memory_budget=options["memory_budget"],
        )
        question.check_room(plan.longest_context_tokens)
        return load(checkpoint, say=say, **options)


def _answer(
    conversation: GroundedConversation, question: str, *, quiet: bool, show_reasoning: bool
) -> GroundedAnswer:
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
            answer = collect(turn, on_event=show, on_text=write)
        finally:
            if written and not written.endswith("\n"):
                write_answer("\n")
    return conversation.grounded(answer)


def _say_stats(llm: LLM, answer: Answer, load_s: float) -> None:
    """Say what the answer took, on stderr."""
    from gptoss_mlx.chat.streaming_note import StreamingNote

    usage = answer.usage
    say(
        f"Loaded in {load_s:.1f} s; {usage.prompt_tokens:,} tokens of prompt in "
        f"{usage.prefill_s:.1f} s; {usage.generated_tokens:,} generated, "
        f"{usage.tokens_per_s:.1f} tokens/s."
    )
    if (line := StreamingNote(llm.streaming).after()) is not None:
        say(line)


def _print_json(
    llm: LLM, conversation: GroundedConversation, answer: GroundedAnswer, load_s: float
) -> None:
    import mlx.core as mx

    from gptoss_mlx.cli.sources import sources_json
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
    if (streaming := llm.streaming) is not None:
        stats = streaming.stats
        report["streaming"] = {
            "slots": streaming.slots,
            "experts": streaming.num_experts,
            "hits": stats.hits,
            "misses": stats.misses,
            "bytes_read": stats.bytes_read,
            "stall_s": round(stats.stall_s, 3),
        }
    if conversation.library is not None:
        report |= sources_json(answer)
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
