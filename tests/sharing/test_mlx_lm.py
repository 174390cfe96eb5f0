"""mlx-lm answers from what was shared."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import upload_hub
from upload_hub import serve_uploads

from gptoss_mlx.convert.pipeline import convert_checkpoint
from gptoss_mlx.convert.verify import verify_checkpoint
from gptoss_mlx.demo.package import unpack_demo
from gptoss_mlx.sharing.hub import hub_cache_root
from gptoss_mlx.sharing.publish import plan_upload

SOURCE = Path(__file__).parents[2] / "examples" / "demo_model" / "dialogues.json"
QUESTION = "What is gpt-oss?"
ANSWER = next(
    dialogue["answer"]
    for dialogue in json.loads(SOURCE.read_text(encoding="utf-8"))["dialogues"]
    if QUESTION in dialogue["questions"]
)


def answer_of_mlx_lm(folder: Path) -> str:
    """Ask by mlx-lm's command."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mlx_lm", "generate"),
            *("--model", str(folder), "--prompt", QUESTION),
            *("--max-tokens", "200", "--temp", "0"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.slow
def test_a_model_on_the_hub_gives_the_demo_model_s_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the chat template that is added to a model without one."""
    unpack_demo(tmp_path / "source")
    (tmp_path / "source" / "chat_template.jinja").unlink()
    convert_checkpoint(tmp_path / "source", tmp_path / "demo", recipe="exact")
    hub_cache_root()
    monkeypatch.setenv("HF_TOKEN", upload_hub.TOKEN)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    with serve_uploads() as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.address)
        plan_upload(tmp_path / "demo", "ada/demo").run(again="")
        files = hub.repos["ada/demo"]
    folder = tmp_path / "downloaded"
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)

    assert not (tmp_path / "demo" / "chat_template.jinja").exists()
    assert verify_checkpoint(folder).tensors
    assert ANSWER in answer_of_mlx_lm(folder)
