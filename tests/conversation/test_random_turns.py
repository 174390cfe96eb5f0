"""Turns of whatever a model may write."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest
from played_turns import (
    BUSY,
    DONE,
    Answering,
    Counting,
    asked,
    check_sound,
    said,
    tokens_of,
)
from scripted import Scripted, call, turn

from gptoss_mlx.conversation.turn import MAX_REFUSALS, run_turn
from gptoss_mlx.conversation.turn_events import TurnEnd, TurnEvent
from gptoss_mlx.errors import ToolError
from gptoss_mlx.harmony.builtin_tools import PYTHON
from gptoss_mlx.harmony.render import render_conversation
from gptoss_mlx.tokenizer import VOCAB_SIZE, load_tokenizer

STRUCTURE = tokens_of(
    "<|start|><|channel|><|message|><|end|><|call|><|return|><|constrain|><|endoftext|>"
    "assistant user final analysis commentary to=functions.weather to=all python json{}\n"
)
GOOD = [
    *(said(step) for step in (BUSY, BUSY, DONE, turn("Hm.", "Yes."))),
    *(said(call("functions.clock", f'{{"n": {n}}}', thought="So.")) for n in range(3)),
    tokens_of("<|channel|>analysis to=python<|message|>1<|call|>"),
    tokens_of("<|channel|>commentary to=functions.python<|message|>1<|end|>"),
    tokens_of("<|start|>user<|message|>Hi<|end|><|start|>assistant"),
]


def streams(random: Random) -> Iterator[list[int]]:
    """What a model might write: noise, structure, and good steps with mistakes."""
    while True:
        kind = random.randrange(8)
        if kind == 0:
            yield [random.randrange(VOCAB_SIZE) for _ in range(random.randrange(1, 30))]
        elif kind == 1:
            yield random.choices(STRUCTURE, k=random.randrange(1, 60))
        else:
            tokens: list[int] = [token for _ in range(2) for token in random.choice(GOOD)]
            for _ in range(random.randrange(5)):
                at = random.randrange(len(tokens))
                tokens[at : at + random.randrange(3)] = random.choices(
                    STRUCTURE, k=random.randrange(3)
                )
                tokens = tokens or [9552]
            yield tokens


@pytest.mark.parametrize("seed", range(4))
def test_every_turn_ends_and_leaves_a_conversation_that_goes_on(seed: int) -> None:
    """500 turns: random streams, small bounds, tools that fail, listeners that leave."""
    random = Random(seed)
    texts = streams(random)
    answers: list[str | BaseException] = ["1", "1", KeyboardInterrupt()]
    for _ in range(500):
        tools = (
            random.choice([Answering(), Counting(), Answering(answer=ToolError("No."))]),
            Answering(PYTHON, random.choice(answers)),
        )
        before = asked(*tools)
        messages = list(before)
        start = len(render_conversation(before, load_tokenizer()))
        steps: list[list[int | BaseException]] = [[*next(texts)] for _ in range(5)]
        if random.random() < 0.2:
            steps[random.randrange(5)].append(KeyboardInterrupt())
        source = Scripted(
            *steps,
            context_tokens=start + random.choice([1, 200, 1_000, *[100_000] * 5]),
            forever=True,
        )
        max_calls = random.choice([0, 2, 5, 64])
        turn_ = run_turn(
            messages,
            source,
            load_tokenizer(),
            tools=tools,
            max_tokens=random.choice([1, 30, 200, *[None] * 4]),
            max_calls=max_calls,
        )
        leave_after = random.choice([random.randrange(100), None, None])
        events: list[TurnEvent] = []
        stopped = False
        try:
            for event in turn_:
                events.append(event)
                if len(events) == leave_after:
                    turn_.close()
                    stopped = True
        except KeyboardInterrupt:
            stopped = True
        assert stopped or isinstance(events[-1], TurnEnd)
        assert len(source.prompts) <= (max_calls + 1) * (MAX_REFUSALS + 1) + 1
        check_sound(messages, before)
        if events and isinstance(events[-1], TurnEnd):
            usage = events[-1].usage
            assert 0 <= usage.reasoning_tokens <= usage.generated_tokens
            assert usage.decode_tokens <= usage.generated_tokens
