from __future__ import annotations

import io
from pathlib import Path
from typing import Any, cast

from scripted import Scripted, turn

from gptoss_mlx.runner import Runner
from gptoss_mlx.runner.tour import TOUR, show_tour
from gptoss_mlx.tokenizer import load_tokenizer


def test_questions_and_answers_go_their_own_ways() -> None:
    """Questions to stderr, answers to stdout, a line each; every question is the first."""
    model = Scripted(*(turn("Hm.", f"Answer\n{i}.") for i in range(4)))
    output, notes = io.StringIO(), io.StringIO()
    show_tour(Runner(Path("demo"), cast(Any, model), load_tokenizer()), output, notes)

    assert notes.getvalue() == "".join(f"> {t.question}\n" for t in TOUR)
    assert output.getvalue() == "Answer 0.\nAnswer 1.\nAnswer 2.\nAnswer 3.\n"
    assert all(prompt.count("<|start|>user") == 1 for prompt in model.prompts)
