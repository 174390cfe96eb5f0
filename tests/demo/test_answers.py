from __future__ import annotations

import datetime
import json
import threading
from pathlib import Path

import pytest
from tiny_checkpoint import write_tiny_checkpoint

from gptoss_mlx.checkpoint.folder import open_checkpoint
from gptoss_mlx.conversation.conversation import Conversation
from gptoss_mlx.errors import ContextError, UnsupportedModelError
from gptoss_mlx.generation.model_source import load_source
from gptoss_mlx.generation.request import Request
from gptoss_mlx.harmony.messages import Message
from gptoss_mlx.llm import LLM, load

SOURCE = Path(__file__).parents[2] / "examples" / "demo_model" / "dialogues.json"
DIALOGUES = json.loads(SOURCE.read_text(encoding="utf-8"))
KNOWN = [
    (question, dialogue["answer"])
    for dialogue in DIALOGUES["dialogues"]
    for question in dialogue["questions"]
]
UNKNOWN = DIALOGUES["out_of_scope"]["answer"]


@pytest.fixture(scope="module")
def demo() -> LLM:
    """The demo model, unpacked, converted and loaded."""
    return load("demo")


def answers(demo: LLM, *questions: str, date: datetime.date | None = None) -> list[str]:
    """Ask in one conversation; return the final answers."""
    conversation = Conversation(
        demo.source, demo.tokenizer, current_date=date, sampling=demo.sampling
    )
    return [conversation.ask(question).text for question in questions]


@pytest.mark.parametrize(
    "question", ["What is gpt-oss?", "What is MXFP4?", "How do I chat?", "Who are you?"]
)
def test_the_demo_knows_its_dialogues(demo: LLM, question: str) -> None:
    """Questions are answered word for word, through all the real parts."""
    assert answers(demo, question) == [dict(KNOWN)[question]]


def test_the_demo_calls_no_tool(demo: LLM) -> None:
    """A warning names the models that do."""
    asked: list[str] = []

    def temperature(city: str) -> str:
        """Measure the temperature."""
        asked.append(city)
        return "4"

    with pytest.warns(UserWarning, match="does not use tools: load 20b or 120b"):
        answer = demo.ask("How warm is it in Oslo?", tools=[temperature])

    assert (answer.reason, asked) == ("stop", [])


@pytest.mark.parametrize("year", [2025, 2026, 2030])
def test_the_date_does_not_matter(demo: LLM, year: int) -> None:
    """The demo answers the same on any day."""
    question, date = "When was gpt-oss released?", datetime.date(year, 11, 21)

    assert answers(demo, question, date=date) == [dict(KNOWN)[question]]


@pytest.mark.parametrize(
    "question", ["Who painted the Mona Lisa?", "Сколько стоит хлеб?", "xqzv 77 blorp", "🎉"]
)
def test_the_demo_says_what_it_is_when_it_does_not_know(demo: LLM, question: str) -> None:
    """Questions that it was not trained on get one fluent sentence."""
    assert answers(demo, question) == [UNKNOWN]


def test_the_demo_holds_a_conversation(demo: LLM) -> None:
    """Later questions are answered too."""
    questions = ["What is gpt-oss?", "What is MXFP4?", "Tell me a joke."]
    known = dict(KNOWN)

    assert answers(demo, *questions) == [*(known[q] for q in questions[:2]), UNKNOWN]


@pytest.mark.slow
def test_four_threads_get_the_demo_s_answers(demo: LLM) -> None:
    """Each its own, whole or streamed, while others leave their streams half read."""
    asked = KNOWN[:4]
    wrong: list[str] = []

    def ask(question: str, expected: str) -> None:
        left = demo.stream([Message("user", question)])
        next(left)
        streamed = demo.stream([Message("user", question)])
        text = "".join(piece.text for piece in streamed if piece.channel == "final")
        if not expected == text == demo.ask(question).text:
            wrong.append(question)

    threads = [threading.Thread(target=ask, args=known) for known in asked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []


def test_a_prompt_that_leaves_no_room_is_refused(demo: LLM) -> None:
    """It is said before anything is computed, and the next prompt is answered."""
    with pytest.raises(ContextError, match=r"under 131,072 tokens but has 131,072\."):
        demo.source(Request([0] * 131_072))

    assert answers(demo, "Hello") == [dict(KNOWN)["Hello"]]


def test_a_model_without_gpt_oss_s_vocabulary_does_not_chat(tmp_path: Path) -> None:
    """It could not read the prompt, nor end its answer."""
    write_tiny_checkpoint(tmp_path)

    with pytest.raises(UnsupportedModelError, match="must be 201,088 to chat but is 512"):
        load_source(open_checkpoint(tmp_path))
