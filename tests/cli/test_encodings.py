from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_checkpoint import write_tiny_checkpoint

TESTS = Path(__file__).parents[1]
PROGRAM = """
import json, os, sys
from pathlib import Path
from scripted import Scripted, turn
import gptoss_mlx.llm
from gptoss_mlx.cli.app import main
from gptoss_mlx.doctor import examine
from gptoss_mlx.tokenizer import load_tokenizer

def load(*names, **options):
    model = Scripted(turn("\\u601d", "An answer \\u2192 \\u4e16\\u754c."), forever=True)
    return gptoss_mlx.llm.LLM(Path("model"), model, load_tokenizer())

class Report:
    passed = True
    def rows(self):
        yield "tour \\u2192 1", "\\u4e16\\u754c"
    def markdown(self):
        return "\\u4e16\\u754c"

gptoss_mlx.llm.load = load
examine.examine = lambda *given: Report()
statuses = []
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["gptoss-mlx", *(os.fsdecode(each.encode()) for each in arguments)]
    try:
        main()
    except SystemExit as error:
        statuses.append(error.code)
print(statuses, flush=True)
"""
COMMANDS = [
    ["convert", "tiny→世"],
    ["verify", "tiny→世-q8"],
    ["models"],
    ["ask", "demo", "Why → 世?"],
    ["chat", "demo"],
    ["doctor"],
    ["doctor", "--markdown"],
    ["ask", "-h"],
    ["verify", "世界"],
    ["世界"],
]


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "latin-1"},
        pytest.param({"PYTHONIOENCODING": "ascii"}, marks=pytest.mark.slow),
        # File names are ASCII there, too.
        pytest.param(
            {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
            marks=pytest.mark.slow,
        ),
    ],
    ids=["latin-1", "ascii", "C"],
)
def test_no_command_fails_for_what_an_encoding_lacks(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """Each does what it does elsewhere, and prints a question mark for a character."""
    write_tiny_checkpoint(tmp_path / "tiny→世")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(COMMANDS)],
        input=b"",
        capture_output=True,
        cwd=tmp_path,
        env={
            **os.environ,
            "GPTOSS_MLX_HOME": str(tmp_path),
            "PYTHONPATH": str(TESTS),
            **environment,
        },
        check=False,
    )

    assert done.returncode == 0, done.stderr.decode()
    statuses = json.loads(done.stdout.splitlines()[-1])
    assert b"Traceback" not in done.stderr
    assert b"An answer ? ??.\n" in done.stdout
    assert b"tour ? 1  ??\n" in done.stdout
    assert b"There is no command " in done.stderr
    assert statuses[2:] == [0, 0, 0, 0, 0, 0, 1, 2]
    if "LC_ALL" not in environment:
        assert statuses[:2] == [0, 0]
