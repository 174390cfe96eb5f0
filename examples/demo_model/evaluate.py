"""Ask the demo model a set of questions, and count the right answers.

Run: python examples/demo_model/evaluate.py examples/demo_model/held_out.json
Prints: the scores with their 95 % intervals, and the questions it answers wrongly.

development.json was looked at while training was designed. held_out.json was written by
somebody who had the list of topics, and had seen no training question and no answer.
"""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import dataclass
from pathlib import Path

from interval import interval

from gptoss_mlx.llm import LLM, load

__all__ = ["IN_SCOPE", "OUT_OF_SCOPE", "Item", "Score", "read_items", "score"]

IN_SCOPE, OUT_OF_SCOPE = "know", "honest"


@dataclass(frozen=True, slots=True)
class Item:
    """A question with a pattern of its right answer.

    Attributes:
        topic: The topic of ``dialogues.json`` that it is about; "" if it is out of scope.
        regex: Found in every right answer.
    """

    question: str
    topic: str
    regex: str


@dataclass(frozen=True, slots=True)
class Score:
    """How many questions were answered rightly.

    Attributes:
        ended: How many answers ended, rightly or not.
        wrong: Pairs of a question and its wrong answer.
    """

    total: int
    ended: int
    wrong: list[tuple[str, str]]

    @property
    def right(self) -> int:
        """How many answers ended and match."""
        return self.total - len(self.wrong)


def read_items(path: Path, part: str) -> list[Item]:
    """Read the questions of a set: ``part`` is ``IN_SCOPE`` or ``OUT_OF_SCOPE``."""
    content = json.loads(path.read_text(encoding="utf-8"))[part]
    return [Item(e["question"], e.get("topic", ""), e["regex"]) for e in content]


def score(model: LLM, items: list[Item]) -> Score:
    """Ask each question in a conversation of its own."""
    ended, wrong = 0, []
    for item in items:
        answer = model.ask(item.question, max_tokens=300)
        ended += answer.reason == "stop"
        if answer.reason != "stop" or not re.search(item.regex, answer.text):
            wrong.append((item.question, answer.text))
    return Score(len(items), ended, wrong)


def main() -> None:
    """Evaluate the model in the package."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("questions", type=Path)
    options = parser.parse_args()
    model = load("demo")
    for part in (IN_SCOPE, OUT_OF_SCOPE):
        result = score(model, read_items(options.questions, part))
        low, high = interval(result.right, result.total)
        print(
            f"{part}: {result.right} of {result.total} right "
            f"({low:.0%} to {high:.0%}), {result.ended} ended"
        )
        for question, answer in result.wrong:
            print(f"  {question!r}: {answer!r}")


if __name__ == "__main__":
    main()
