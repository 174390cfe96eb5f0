from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"
ANSWERS = {
    question: dialogue["answer"]
    for dialogue in json.loads((EXAMPLES / "demo_dialogues.json").read_text())["dialogues"]
    for question in dialogue["questions"]
}


def test_asking_from_python() -> None:
    """The example prints both answers, whole."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "ask.py")],
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.splitlines() == [
        ANSWERS["What is gpt-oss?"],
        ANSWERS["What is MXFP4?"],
    ]
