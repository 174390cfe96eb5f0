from __future__ import annotations

import datetime
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from scripted import Scripted, turn

from gptoss_mlx.demo.chat_template import CHAT_TEMPLATE
from gptoss_mlx.demo.folder import open_demo
from gptoss_mlx.llm import LLM
from gptoss_mlx.tokenizer import load_tokenizer

SOURCE = Path(__file__).parents[2] / "examples" / "demo_model" / "dialogues.json"
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


Render = Callable[..., str]


def rendered(messages: list[dict[str, object]], **options: object) -> str:
    """Render the template as transformers does, without its import of seconds."""

    def refuse(reason: str) -> None:
        raise TemplateError(reason)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["strftime_now"] = datetime.datetime.now().strftime
    environment.globals["raise_exception"] = refuse
    return environment.from_string(CHAT_TEMPLATE).render(messages=messages, **options)


def rendered_by_mlx_lm(messages: list[dict[str, object]], **options: object) -> str:
    """Render the template of the demo model's folder as mlx-lm does."""
    from mlx_lm import utils

    folder = open_demo(print).folder
    tokenizer: Any = utils.load_tokenizer(folder)  # type: ignore[no-untyped-call]
    return str(tokenizer.apply_chat_template(messages, tokenize=False, **options))


renderers = pytest.mark.parametrize(
    "render", [rendered, pytest.param(rendered_by_mlx_lm, marks=pytest.mark.slow)]
)


@renderers
@pytest.mark.parametrize("messages", [MESSAGES[1:2], MESSAGES[1:], MESSAGES])
@pytest.mark.parametrize("effort", ["medium", "low"])
def test_the_template_makes_the_prompt_that_ask_makes(
    messages: list[dict[str, object]], effort: Any, render: Render
) -> None:
    """Character for character."""
    scripted = Scripted(turn("", "Yes."))
    LLM(Path("demo"), scripted, load_tokenizer()).ask(messages, effort=effort)
    prompt = render(messages, add_generation_prompt=True, reasoning_effort=effort)

    assert prompt == scripted.prompts[0]


@renderers
def test_a_tool_s_message_is_refused(render: Render) -> None:
    """The demo model was trained on none."""
    with pytest.raises(TemplateError, match="has no role tool"):
        render([{"role": "tool", "content": "5"}])


def test_the_demo_model_s_folder_has_the_template() -> None:
    """Under the name that transformers looks for."""
    template = open_demo(print).folder / "chat_template.jinja"

    assert template.read_text(encoding="utf-8") == CHAT_TEMPLATE


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
