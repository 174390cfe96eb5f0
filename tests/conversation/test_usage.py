"""What a turn took."""

from __future__ import annotations

from played_turns import DONE, Answering, asked, play, said, tokens_of
from scripted import Scripted, call, turn

from gptoss_mlx.conversation.turn import run_turn
from gptoss_mlx.conversation.turn_events import TurnEnd
from gptoss_mlx.harmony.messages import Message
from gptoss_mlx.harmony.render import render_conversation
from gptoss_mlx.tokenizer import load_tokenizer


def test_usage_adds_up() -> None:
    """Over all steps of the turn, the reasoning counted apart."""
    steps = [
        call("functions.weather", "{}", thought="Ask the tool."),
        turn("Now I know.", "Sunny."),
    ]
    lengths = [len(said(step)) for step in steps]
    played = play(*steps, tools=(Answering(),))
    usage = played.end.usage

    assert usage.generated_tokens == sum(lengths)
    assert usage.decode_tokens == sum(lengths) - 2
    # <|channel|>analysis<|message|> and <|end|> belong to it.
    thoughts = (load_tokenizer().encode(t) for t in ("Ask the tool.", "Now I know."))
    assert usage.reasoning_tokens == sum(len(thought) + 4 for thought in thoughts)
    first, second = (len(tokens_of(prompt)) for prompt in played.source.prompts)
    assert (usage.prompt_tokens, usage.context_tokens) == (first, second + lengths[1])
    assert (usage.cached_tokens, usage.calls) == (0, 1)
    assert usage.decode_s >= 0
    assert usage.prefill_s > 0


def test_cached_tokens_are_those_of_the_turn_s_first_prompt() -> None:
    """Not of the prompt before it, nor of the steps after it."""
    source = Scripted(
        turn("", "One.")[1:], call("functions.weather", "{}"), DONE, remembers=True
    )
    tool = Answering()
    messages = asked(tool)
    list(run_turn(messages, source, load_tokenizer(), tools=[tool]))
    kept = len(render_conversation(messages, load_tokenizer(), next_role=None))
    messages.append(Message("user", "And now?"))
    *_, end = run_turn(messages, source, load_tokenizer(), tools=[tool])

    assert isinstance(end, TurnEnd)
    # The answer ended with <|return|>, and is shown with <|end|>.
    assert end.usage.cached_tokens == kept - 1


def test_the_reading_of_each_prompt_is_told() -> None:
    """Also of those after a tool's result."""
    heard: list[tuple[int, int]] = []
    tool = Answering()
    source = Scripted(call("functions.weather", "{}"), DONE)
    list(
        run_turn(
            asked(tool),
            source,
            load_tokenizer(),
            tools=[tool],
            progress=lambda done, total: heard.append((done, total)),
        )
    )

    sizes = [len(tokens_of(prompt)) for prompt in source.prompts]
    assert heard == [(size, size) for size in sizes]
