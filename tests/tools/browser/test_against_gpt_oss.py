"""What our browser shows is what gpt-oss 0.0.9's own shows."""

from __future__ import annotations

import json
from typing import Any

import pytest
from browser_cases import CASES, GOLDEN, SEEDS, answers, digest, random_case
from library_cases import LIBRARY_SEEDS, library_answers, library_case


@pytest.fixture(scope="module")
def golden() -> Any:
    """What gpt-oss's browser answered."""
    return json.loads(GOLDEN.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", CASES)
def test_a_conversation_reads_as_in_gpt_oss(name: str, golden: Any) -> None:
    """Every answer is equal, character by character."""
    assert answers(CASES[name]) == golden["cases"][name]


def test_every_written_case_is_compared(golden: Any) -> None:
    """No answer is left in the file, or missing from it."""
    assert list(golden["cases"]) == list(CASES)
    assert len(golden["random"]) == len(SEEDS)


def test_random_conversations_read_as_in_gpt_oss(golden: Any) -> None:
    """400 of them, 13 calls each: long lines, links, scripts, scrolling and mistakes."""
    different = [
        seed
        for seed in SEEDS
        if digest(answers(random_case(seed))) != golden["random"][seed]
    ]

    assert different == []


def test_documents_of_a_library_read_as_in_gpt_oss(golden: Any) -> None:
    """100 libraries, 14 calls each: links, long lines, scripts, and 50,000 lines."""
    different = [
        seed
        for seed in LIBRARY_SEEDS
        if digest(library_answers(library_case(seed))) != golden["library"][seed]
    ]

    assert different == []
