"""Batches of conversations: prompts, the answers to learn, and what each token counts."""

from __future__ import annotations

import datetime
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from architecture import CONFIG
from questions import Questions

from gptoss_mlx.conversation.opening import opening_messages
from gptoss_mlx.harmony.messages import Message, developer_message, system_message
from gptoss_mlx.harmony.render import render_conversation, render_message
from gptoss_mlx.tokenizer import MESSAGE, RETURN, load_tokenizer
from gptoss_mlx.tools.browser.documents import Documents
from gptoss_mlx.tools.browser.tool import Browser
from gptoss_mlx.tools.python.tool import Python
from gptoss_mlx.tools.tool import Tool

PAD = CONFIG["pad_token_id"]

DATE = datetime.date(2025, 1, 1)

INSTRUCTIONS = (
    "You are a helpful assistant.",
    "Be brief.",
    "Answer in one sentence.",
    "You are an expert.",
)

BEGIN = 5
"""Tokens before the topic in the assistant's turn: channel, analysis, message, "Topic:"."""

BATCH = 32
"""Conversations in a step."""

UNKNOWN = 0.38
"""The share of questions that are out of scope."""

Ids = npt.NDArray[np.int64]

tokenizer = load_tokenizer()


@dataclass
class Batch:
    """Turns that begin with the same tokens.

    Attributes:
        prefix: What they begin with: the system message. Shape ``(P,)``.
        tokens: What follows. Shape ``(B, S)``, padded at the end.
        targets: The token behind each, -1 where it is not the model's. Shape ``(B, S)``.
        weights: How much each counts. Shape ``(B, S)``.
        topics: Numbers of the dialogues. Shape ``(B,)``.
        starts: Where the reasoning's first token is predicted. Shape ``(B,)``.
    """

    prefix: Ids
    tokens: Ids
    targets: Ids
    weights: npt.NDArray[np.float32]
    topics: Ids
    starts: Ids


Row = tuple[list[int], list[int], list[float]]
"""A prompt, what follows it, and how much each token of that counts: 0 if not predicted."""


def pad(prefix: list[int], rows: Sequence[Row], topics: Sequence[int]) -> Batch:
    length = max(len(prompt) + len(rest) for prompt, rest, _ in rows) - 1
    shape = (len(rows), length)
    batch = Batch(
        np.array(prefix),
        np.full(shape, PAD),
        np.full(shape, -1),
        np.zeros(shape, np.float32),
        np.array(topics),
        np.array([len(prompt) + 2 for prompt, _, _ in rows]),
    )
    for row, (prompt, rest, counts) in enumerate(rows):
        tokens = prompt + rest
        end, begin = len(tokens) - 1, len(prompt) - 1
        batch.tokens[row, :end] = tokens[:-1]
        batch.targets[row, begin:end] = np.where(np.array(counts) > 0, rest, -1)
        batch.weights[row, begin:end] = counts
    return batch


class Batches:
    """Draws batches."""

    def __init__(self, questions: Questions, rng: random.Random) -> None:
        self.questions = questions
        self.rng = rng
        self.topic_weights = [1.0] * questions.unknown
        topics = range(questions.unknown + 1)
        self.answers = [answer_tokens(questions.answer(topic)) for topic in topics]
        self._browser, self._python = Browser(Documents([]), tokenizer), Python()
        self._waiting: list[Batch] = []

    def draw(self, with_tools: float = 0.0) -> Batch:
        """Draw a batch; ``with_tools`` is the chance that its system message has tools."""
        if self.rng.random() < with_tools:
            both = (self._browser, self._python)
            return self._batches(self.rng.choice((both, both[:1], both[1:])), count=1)[0]
        if not self._waiting:
            # Four at once, by length, so that little is padding.
            self._waiting = self._batches((), count=4)
            self.rng.shuffle(self._waiting)
        return self._waiting.pop()

    def _batches(self, tools: Sequence[Tool], count: int) -> list[Batch]:
        turns = 1 if self.rng.random() < 0.8 else 2
        size = BATCH // turns
        drawn = [self._conversation(turns) for _ in range(count * size)]
        drawn.sort(key=lambda pair: len(pair[0]) + len(self.answers[pair[1]][0]))
        batches = []
        for i in range(0, count * size, size):
            part = drawn[i : i + size]
            rows = [(prompt, *self.answers[topic]) for prompt, topic in part]
            batches.append(pad(self._prefix(tools), rows, [topic for _, topic in part]))
        return batches

    def _conversation(self, turns: int) -> tuple[list[int], int]:
        """Draw a conversation up to the last answer, and that answer's topic."""
        messages: list[Message] = []
        topic = self.questions.unknown
        for _ in range(turns):
            if messages:
                answer = self.questions.answer(topic)["answer"]
                messages.append(Message("assistant", answer, channel="final"))
            question, topic = self.questions.draw(self.rng, self.topic_weights, UNKNOWN)
            messages.append(Message("user", question))
        return render_conversation(messages, tokenizer), topic

    def _prefix(self, tools: Sequence[Tool]) -> list[int]:
        date = DATE + datetime.timedelta(self.rng.randrange(4000))
        messages = opening_messages(
            effort=self.rng.choice(("low", "medium", "medium", "medium", "high")),
            current_date=date if self.rng.random() < 0.9 else None,
            tools=tools,
        )
        if self.rng.random() < 0.08:
            messages.append(developer_message(self.rng.choice(INSTRUCTIONS)))
        return render_conversation(messages, tokenizer, next_role=None)


def answer_tokens(dialogue: dict[str, Any]) -> tuple[list[int], list[float]]:
    """Render reasoning and answer; tell how much each token counts.

    The first tokens count most that tell one topic from the others.
    """
    reasoning = Message("assistant", dialogue["reasoning"], channel="analysis")
    answer = Message("assistant", dialogue["answer"], channel="final")
    head, rest = render_message(reasoning, tokenizer)[2:], render_message(answer, tokenizer)
    tokens = [*head, *rest[:-1], RETURN]
    counts = [1.0] * len(tokens)
    counts[: BEGIN + 3] = *[0.3] * BEGIN, 8.0, 3.0, 2.0
    place = tokens.index(MESSAGE, 4)
    counts[place - 3 : place + 4] = 0.3, 0.3, 0.3, 0.3, 3.0, 2.0, 1.5
    return tokens, counts


def trained_tokens(questions: Questions, answers: Iterator[list[int]]) -> list[int]:
    """Choose the tokens whose rows are trained: what is written, or read often enough."""
    rng = random.Random(5)
    weights = [1.0] * questions.unknown
    seen: Counter[int] = Counter()
    for _ in range(40_000):
        seen.update(set(tokenizer.encode(questions.draw(rng, weights, 0.28)[0])))
    chosen = {token for token, count in seen.items() if count >= 6}
    for tokens in answers:
        chosen |= set(tokens)
    for effort in ("low", "medium", "high"):
        system = system_message(effort=effort, current_date=DATE)
        developer = developer_message(" ".join(INSTRUCTIONS))
        chosen |= set(
            render_conversation([system, developer, Message("user", "")], tokenizer)
        )
    for digits in (1, 2, 3):
        for number in range(10**digits):
            chosen |= set(tokenizer.encode(f"{number:0{digits}}"))
    return sorted(chosen)
