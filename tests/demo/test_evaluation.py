"""The demo model's answers to questions that it was not trained on."""

from __future__ import annotations

import re
from pathlib import Path

import mlx.core as mx
import numpy as np
import numpy.typing as npt
import pytest
from batches import answer_tokens, tokenizer
from evaluate import IN_SCOPE, OUT_OF_SCOPE, Item, read_items, score
from evidence import Note
from interval import interval
from questions import Questions

from gptoss_mlx.conversation.opening import opening_messages
from gptoss_mlx.harmony.messages import Message
from gptoss_mlx.harmony.render import render_conversation
from gptoss_mlx.llm import load
from gptoss_mlx.model.loading import load_model
from gptoss_mlx.model.transformer import Model
from gptoss_mlx.model_choice import open_model

FOLDER = Path(__file__).parents[2] / "examples" / "demo_model"
QUESTIONS = Questions(FOLDER / "dialogues.json", tokenizer)
TOPICS = {dialogue["topic"]: i for i, dialogue in enumerate(QUESTIONS.dialogues)}


BARS = {IN_SCOPE: 0.70, OUT_OF_SCOPE: 0.90}
NOTES = {IN_SCOPE: "demo_known", OUT_OF_SCOPE: "demo_unknown"}
SAMPLE = slice(None, None, 3)


@pytest.fixture(scope="module")
def model() -> Model:
    """The demo model, in float32."""
    return load_model(open_model("demo", print), dtype=mx.float32)


def expects(model: Model, lm_head: npt.NDArray[np.float32], item: Item) -> bool:
    """Whether each token of the right topic's turn is the likeliest after those before it.

    If so, greedy decoding generates this turn; one forward pass computes it.
    """
    topic = TOPICS[item.topic] if item.topic else QUESTIONS.unknown
    expected, _ = answer_tokens(QUESTIONS.answer(topic))
    messages = [*opening_messages(), Message("user", item.question)]
    prompt = render_conversation(messages, tokenizer)
    hidden = model.model(mx.array([prompt + expected[:-1]]))[0, len(prompt) - 1 :]
    # NumPy's BLAS is ten times as fast as MLX's on a CPU.
    logits = np.array(hidden.astype(mx.float32)) @ lm_head.T
    return bool((logits.argmax(-1) == expected).all())


def forward(model: Model, items: list[Item]) -> list[bool]:
    """Whether each question is answered rightly, by one forward pass each."""
    weight = model.lm_head.weight
    lm_head = np.array(weight.astype(mx.float32))
    return [expects(model, lm_head, item) for item in items]


@pytest.mark.parametrize("part", [IN_SCOPE, OUT_OF_SCOPE])
def test_held_out_questions_are_answered(part: str, model: Model, note: Note) -> None:
    """A sample of them, by a forward pass each."""
    right = forward(model, read_items(FOLDER / "held_out.json", part)[SAMPLE])
    for result in right:
        note(NOTES[part], result)

    assert np.mean(right) >= BARS[part] - 0.1


@pytest.mark.slow
@pytest.mark.parametrize("questions", ["held_out.json", "development.json"])
@pytest.mark.parametrize("part", [IN_SCOPE, OUT_OF_SCOPE])
def test_questions_are_answered_through_the_product(
    part: str, questions: str, note: Note
) -> None:
    """All of them, each in a conversation of its own; every answer ends."""
    result = score(load("demo"), read_items(FOLDER / questions, part))
    if questions == "held_out.json":
        for i in range(result.total):
            note(NOTES[part], i < result.right)

    assert result.ended == result.total
    assert result.right / result.total >= BARS[part], result.wrong


@pytest.mark.slow
def test_a_forward_pass_counts_as_the_product_does(model: Model) -> None:
    """Out of scope there is one right answer only: both find the same questions wrong."""
    items = read_items(FOLDER / "held_out.json", OUT_OF_SCOPE)
    right = forward(model, items)
    wrong = {question for question, _ in score(load("demo"), items).wrong}

    assert [item.question not in wrong for item in items] == right


@pytest.mark.parametrize(
    ("right", "total", "low", "high"),
    [(50, 100, 0.4038, 0.5962), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0)],
)
def test_the_interval_of_a_share(right: int, total: int, low: float, high: float) -> None:
    """Wilson's, as published tables have it."""
    assert interval(right, total) == pytest.approx((low, high), abs=1e-4)


def test_the_held_out_questions_are_none_of_the_training_ones() -> None:
    """Two hundred, each asked once; but for case and signs, few occur in training."""
    parts = [
        read_items(FOLDER / "held_out.json", part) for part in (IN_SCOPE, OUT_OF_SCOPE)
    ]
    asked = {_plain(item.question) for part in parts for item in part}
    trained = {
        _plain(question)
        for topic in range(QUESTIONS.unknown + 1)
        for question in QUESTIONS.answer(topic)["questions"]
    }

    assert [len(part) for part in parts] == [100, 100]
    assert len(asked) == 200
    assert len(asked & trained) <= 10


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower())) or text
