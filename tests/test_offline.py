"""Nothing is asked of a network: neither wanted nor tried.

Of ``ask``, ``chat`` and the tour, the tests of each command see to that.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from program import run_offline
from small_library import small_library


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [
        (["models"], ""),
        (["verify", "demo"], ""),
        (["harmony", "render", "-"], '{"messages": [{"role": "user", "content": "Hi"}]}'),
    ],
    ids=["models", "verify", "harmony"],
)
def test_commands_work_without_a_network(arguments: list[str], stdin: str) -> None:
    """They do their work, and do not even try."""
    done = run_offline(*arguments, stdin=stdin)

    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert done.attempts == "[]"


# A model that opens a page of the web and of the disk, a file, and then answers.
READER = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from scripted import Scripted
from small_library import answer, browse
import gptoss_mlx.llm as llm
from gptoss_mlx.tokenizer import load_tokenizer
model = Scripted(
    browse("search", query="heating"),
    browse("open", id="https://example.com/heating"),
    browse("open", id="file:///etc/passwd"),
    browse("open", id="docs/letters/heating.md"),
    browse("find", pattern="landlord"),
    answer("In May【2†L8】."),
)
llm.load = lambda *_, **__: llm.LLM(Path("model"), model, load_tokenizer())
"""


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [(["ask", "Who services the heating?"], ""), (["chat"], "Who services the heating?\n")],
    ids=["ask", "chat"],
)
def test_files_are_read_and_cited_without_a_network(
    arguments: list[str], stdin: str, tmp_path: Path
) -> None:
    """They are indexed, searched, opened and cited, and nothing is reached for."""
    small_library(tmp_path / "docs").close()
    chosen = ["-m", "demo", "--in", str(tmp_path / "docs")]
    done = run_offline(*arguments, *chosen, stdin=stdin, before=READER)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("In May[1].\n\nSources:\n[1] docs/letters/heating.md:9")
    assert done.attempts == "[]"


# Less of what the tests of each check compute too.
FEWER_CASES = """
from gptoss_mlx.doctor import examine, prefill
examine.CPU_CASES, examine.TOUR = examine.CPU_CASES[:1], examine.TOUR[:1]
prefill.TEXT, prefill.PIECES = 150, {"chunks": [100, 50], "steps": [140, *[1] * 10]}
"""


@pytest.mark.parametrize(
    "before", [FEWER_CASES, pytest.param("", marks=pytest.mark.slow)], ids=["some", "all"]
)
def test_doctor_works_without_a_network(before: str) -> None:
    """Logits and tour, and not even an attempt."""
    done = run_offline("doctor", "--json", before=before)

    assert json.loads(done.stdout)["passed"] is True
    assert done.attempts == "[]"


def test_an_attempt_would_be_noticed() -> None:
    """Downloading is one, and is answered with a named error."""
    done = run_offline("download", "20b")

    assert done.returncode == 1
    assert "Error: openai/gpt-oss-20b must be reachable" in done.stderr
    assert "socket.getaddrinfo" in done.attempts
