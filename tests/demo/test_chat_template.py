from __future__ import annotations

import datetime
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from scripted import Scripted, turn

from gptoss_mlx.demo.folder import open_demo
from gptoss_mlx.llm import LLM
from gptoss_mlx.tokenizer import load_tokenizer

SOURCE = Path(__file__).parents[2] / "examples" / "demo_dialogues.json"
ANSWERS = {
    question: dialogue["answer"]
    for dialogue in json.loads(SOURCE.read_text(encoding="utf-8"))["dialogues"]
    for question in dialogue["questions"]
}
MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is gpt-oss?"},
    {"role": "assistant", "content": "A model."},
    {"role": "user", "content": "What is MXFP4?"},
]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """The demo model's, as mlx-lm loads it."""
    from mlx_lm import utils

    return utils.load_tokenizer(open_demo(print).folder)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("messages", [MESSAGES[1:2], MESSAGES[1:], MESSAGES])
@pytest.mark.parametrize("effort", ["medium", "low"])
def test_mlx_lm_makes_the_prompt_that_we_make(
    messages: list[dict[str, object]], effort: Any, tokenizer: Any
) -> None:
    """Token for token, from the folder alone."""
    scripted = Scripted(turn("", "Yes."))
    LLM(Path("demo"), scripted, load_tokenizer()).ask(messages, effort=effort)
    prompt = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=False, reasoning_effort=effort
    )

    assert prompt == scripted.prompts[0]
    assert datetime.date.today().isoformat() in prompt


def test_a_tool_s_message_is_refused(tokenizer: Any) -> None:
    """The demo model was trained on none."""
    from jinja2 import TemplateError

    with pytest.raises(TemplateError, match="has no role tool"):
        tokenizer.apply_chat_template([{"role": "tool", "content": "5"}], tokenize=False)


@pytest.mark.slow
def test_mlx_lm_gets_the_demo_model_s_answer() -> None:
    """With the template of the folder, by its command."""
    question = "What is gpt-oss?"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mlx_lm", "generate"),
            *("--model", str(open_demo(print).folder), "--prompt", question),
            *("--max-tokens", "200", "--temp", "0"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )

    assert ANSWERS[question] in done.stdout
