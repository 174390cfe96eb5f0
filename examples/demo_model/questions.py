"""Draws the questions that the demo model is trained on, from dialogues.json.

A question of the file is put in other forms, with synonyms, politeness and typos. What is
out of scope is drawn from the file too, or made of frames and words of the vocabulary.
"""

from __future__ import annotations

import json
import random
import re
from functools import cached_property
from pathlib import Path
from typing import Any

from gptoss_mlx.tokenizer import Tokenizer

__all__ = ["Questions"]

WORD_TOKENS = 199_998
"""Tokens below are text; those above are special."""

LETTERS = "abcdefghijklmnopqrstuvwxyz"
SIGNS = "?!.#$%&*()[]{}<>=+-/0123456789"
NAME = re.compile(r"gpt-?oss(-20b|-120b|-mlx)?|the 1?20b")


class Questions:
    """Draws questions, each with the number of the dialogue that answers it.

    Attributes:
        dialogues: The topics.
        unknown: The number of what is out of scope: that behind the last topic.
    """

    def __init__(self, path: Path, tokenizer: Tokenizer) -> None:
        content = json.loads(path.read_text(encoding="utf-8"))
        self.dialogues: list[dict[str, Any]] = content["dialogues"]
        self.out_of_scope: dict[str, Any] = content["out_of_scope"]
        self.unknown = len(self.dialogues)
        wording = content["wording"]
        self._wording: dict[str, Any] = wording
        self._forms = [
            (re.compile(form), other) for form, other in wording["forms"].items()
        ]
        self._synonyms: dict[str, list[str]] = {}
        for group in wording["synonyms"]:
            for word in group:
                others = set(group) - {word} | set(self._synonyms.get(word, ()))
                self._synonyms[word] = sorted(others)
        self._tokenizer = tokenizer

    def answer(self, number: int) -> dict[str, Any]:
        """Return reasoning and answer of a topic, or of what is out of scope."""
        return self.out_of_scope if number == self.unknown else self.dialogues[number]

    def draw(
        self, rng: random.Random, weights: list[float], unknown: float
    ) -> tuple[str, int]:
        """Draw a question.

        Args:
            weights: How often each topic is to be drawn.
            unknown: The share that is out of scope.
        """
        if rng.random() < unknown:
            if rng.random() < 0.25:
                question = rng.choice(self.out_of_scope["questions"])
                return self.vary(question, rng), self.unknown
            return self.stray(rng), self.unknown
        number = rng.choices(range(self.unknown), weights)[0]
        dialogue = self.dialogues[number]
        question = rng.choice(dialogue["questions"])
        if dialogue["names"] and rng.random() < 0.2:
            form = rng.choice(self._wording["name_forms"])
            question = form.format(rng.choice(dialogue["names"]))
        return self.vary(question, rng, plain=dialogue.get("plain", False)), number

    def vary(self, question: str, rng: random.Random, *, plain: bool = False) -> str:
        """Type a question in another way; ``plain`` keeps its words."""
        if not plain:
            question = self._wrapped(self._rephrased(question, rng), rng)
        chance = rng.random()
        if chance < 0.2:
            question = question.lower()
        elif chance < 0.23:
            question = question.upper()
        chance = rng.random()
        if chance < 0.3:
            question = question.rstrip("?.!")
            if chance > 0.25:
                question += rng.choice(("??", "!", "?!", " ?", "..."))
        if rng.random() < 0.07 and len(question) > 6:
            question = _mistyped(question, rng)
        if rng.random() < 0.06:
            name = rng.choice(("gptoss", "gpt oss", "GPT-OSS", "Gpt-oss", "gpt-Oss"))
            question = question.replace("gpt-oss", name)
        return question

    def stray(self, rng: random.Random) -> str:
        """Make something that is out of scope."""
        chance = rng.random()
        if chance < 0.3:  # a question of the file with other words
            words = rng.choice(self.out_of_scope["questions"]).split(" ")
            return " ".join(self._other_word(word, rng) for word in words)
        if chance < 0.57:
            frame = rng.choice(self.out_of_scope["frames"])
            return re.sub(r"\{\}", lambda _: self._words(rng, (1, 1, 1, 2, 2, 3)), frame)
        if chance < 0.67:
            return self._foreign(rng)
        if chance < 0.75:
            words = self._words(rng, (1, 2, 3, 4, 6, 10, 20, 40))
            return words + rng.choice(("", ".", "?", "!"))
        if chance < 0.79:
            signs = LETTERS if rng.random() < 0.8 else SIGNS
            return "".join(rng.choice(signs) for _ in range(rng.randrange(1, 14)))
        if chance < 0.83:
            first, second = (rng.randrange(10 ** rng.randrange(1, 5)) for _ in range(2))
            signs_of_sums = ("+", "-", "*", "/", "times", "plus", "minus", "divided by")
            forms = ("{} {} {}", "What is {} {} {}?", "Calculate {} {} {}.", "{} {} {} = ?")
            return rng.choice(forms).format(first, rng.choice(signs_of_sums), second)
        while True:  # a question about something else than gpt-oss
            dialogue = rng.choice(self.dialogues)
            question = rng.choice(dialogue["questions"])
            if dialogue.get("needs_name", True) and NAME.search(question):
                return NAME.sub(self._words(rng, (1, 1, 2)), question)

    @cached_property
    def vocabulary_words(self) -> tuple[list[str], list[str]]:
        """Return the tokens that look like English words, and those of other scripts."""
        english, other = [], []
        for token in range(WORD_TOKENS):
            try:
                text = self._tokenizer.token_bytes(token).decode()
            except UnicodeDecodeError:
                continue
            if re.fullmatch(" [A-Za-z]{3,}", text):
                english.append(text[1:])
            elif len(text.strip()) > 1 and not text.isascii() and text.strip().isalpha():
                other.append(text)
        return english, other

    def word(self, rng: random.Random) -> str:
        """Draw a word: common, frequent (tokens go by frequency), any, or made up."""
        english, _ = self.vocabulary_words
        chance = rng.random()
        if chance < 0.22:
            return str(rng.choice(self.out_of_scope["words"]))
        if chance < 0.70:
            word = english[rng.randrange(len(english) // 5)]
            return word.lower() if rng.random() < 0.7 else word
        if chance < 0.94:
            return rng.choice(english)
        return "".join(rng.choice(english).lower()[:5] for _ in range(2))

    def _words(self, rng: random.Random, counts: tuple[int, ...]) -> str:
        return " ".join(self.word(rng) for _ in range(rng.choice(counts)))

    def _other_word(self, word: str, rng: random.Random) -> str:
        kept = word.lower().strip("?.,!") in self.out_of_scope["kept_words"]
        if kept or rng.random() < 0.4:
            return word
        return self.word(rng) + (word[-1] if word[-1:] in ("?", ".") else "")

    def _foreign(self, rng: random.Random) -> str:
        count = rng.choice((1, 2, 3, 5, 8, 12))
        if rng.random() < 0.6:
            _, other = self.vocabulary_words
            text = "".join(rng.choice(other) for _ in range(count))
        else:
            text = self._tokenizer.decode(rng.randrange(WORD_TOKENS) for _ in range(count))
        return text.strip() or "?"

    def _wrapped(self, question: str, rng: random.Random) -> str:
        if rng.random() >= 0.35:
            return question
        if rng.random() < 0.5:
            question = question[:1].lower() + question[1:]
        if rng.random() < 0.6:
            return f"{rng.choice(self._wording['fronts'])}{question}"
        return question.rstrip("?.! ") + str(rng.choice(self._wording["backs"]))

    def _rephrased(self, question: str, rng: random.Random) -> str:
        if rng.random() < 0.45:
            fits = [(m, b) for form, b in self._forms if (m := form.fullmatch(question))]
            if fits:
                match, others = rng.choice(fits)
                question = rng.choice(others).format(*match.groups())
        words = question.split(" ")
        if rng.random() < 0.45:
            words = [self._synonym(word, rng) for word in words]
        if rng.random() < 0.2 and len(words) > 3:
            small = self._wording["small_words"]
            places = [i for i, word in enumerate(words) if word.lower() in small]
            if places:
                words.pop(rng.choice(places))
        if rng.random() < 0.12:
            words.insert(
                rng.randrange(len(words) + 1), rng.choice(self._wording["fillers"])
            )
        return " ".join(words)

    def _synonym(self, word: str, rng: random.Random) -> str:
        core = word.strip("?.,!:")
        others = self._synonyms.get(core.lower())
        if not others or rng.random() >= 0.4:
            return word
        other = rng.choice(others)
        capital = core[:1].isupper() and core != "I"
        return word.replace(core, other.capitalize() if capital else other)


def _mistyped(text: str, rng: random.Random) -> str:
    place = rng.randrange(len(text))
    kind = rng.randrange(4)
    if kind == 0:
        return text[:place] + text[place + 1 :]
    if kind == 1:
        return text[:place] + text[place] + text[place:]
    if kind == 2 and place + 1 < len(text):
        return text[:place] + text[place + 1] + text[place] + text[place + 2 :]
    return text[:place] + rng.choice(LETTERS) + text[place + 1 :]
