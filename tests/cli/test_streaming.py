from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from program import run_here

from gptoss_mlx.demo.folder import open_demo
from gptoss_mlx.model.amounts import parse_bytes, parse_share

QUESTION = "What is gpt-oss?"


@pytest.mark.parametrize("share", ["100%", "60%", "30%", "0.01"])
def test_a_streamed_demo_answers_as_the_resident_one(share: str) -> None:
    """The same greedy words; --stats says on stderr what was read, --json counts it."""
    plain = run_here("ask", QUESTION, "--temperature", "0")
    done = run_here(
        "ask", QUESTION, "--temperature", "0", "--resident", share, "--json", "--stats"
    )
    told = json.loads(done.stdout)
    streamed = told["streaming"]

    assert done.returncode == 0
    assert told["answer"] + "\n" == plain.stdout
    assert streamed["misses"] > 0
    assert streamed["bytes_read"] > 0
    assert streamed["slots"] <= streamed["experts"]
    # A model that fits is not worth a line.
    assert bool(re.search(r"with \d of 8 experts", done.stderr)) == (share != "100%")
    assert re.search(r"Experts: \d+% of [\d,]+ were in memory, [\d.]+ MB", done.stderr)


def test_stats_of_a_resident_model_have_no_experts() -> None:
    """Times and tokens alone, on stderr."""
    done = run_here("ask", QUESTION, "--stats")

    assert re.search(r"Loaded in [\d.]+ s; \d+ tokens of prompt in", done.stderr)
    assert "Experts" not in done.stderr


def test_chat_says_after_each_answer_what_was_read() -> None:
    """By pipe on stderr; each line counts one answer."""
    done = run_here("chat", "--resident", "30%", stdin=b"Hello\nWhat is gpt-oss?\n")

    assert done.returncode == 0
    lines = [line for line in done.stderr.splitlines() if line.startswith("Experts:")]
    assert len(lines) == 2
    assert len(done.stdout.splitlines()) == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--resident", "120%"], "must be over 0 and up to 100% but is '120%'"),
        (["--resident", "half"], "must be a share of the experts, as 60%, but is 'half'"),
        (["--memory-budget", "8 apples"], "must be an amount of memory, as 8GB"),
        (["--resident", "60%", "--memory-budget", "8GB"], "not both"),
    ],
)
@pytest.mark.parametrize("command", ["ask", "chat"])
def test_a_wrong_amount_is_bad_usage(command: str, options: list[str], said: str) -> None:
    """Exit 2, with the value that was typed; nothing is loaded."""
    done = run_here(command, *options, *([QUESTION] if command == "ask" else []))

    assert done.returncode == 2
    assert said in done.stderr


def test_a_budget_that_is_too_small_names_the_least() -> None:
    """And the command that gives it more."""
    done = run_here("ask", QUESTION, "--memory-budget", "1MB")

    assert done.returncode == 1
    assert re.search(r"must be at least [\d.]+GB but is 0\.0GB", done.stderr)
    assert "--memory-budget" in done.stderr


def test_a_budget_that_holds_everything_streams_nothing() -> None:
    """The model is loaded as without it."""
    done = run_here("ask", QUESTION, "--memory-budget", "60GB", "--json")

    assert done.returncode == 0
    assert "streaming" not in json.loads(done.stdout)


@pytest.mark.parametrize("how", ["cut", "replaced", "unreadable"])
def test_a_file_that_changes_while_streaming_ends_with_a_named_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Exit 1, the file's name and a hint; no answer from wrong weights."""
    from gptoss_mlx.model import loading

    folder = tmp_path / "demo"
    shutil.copytree(open_demo(lambda line: None).folder, folder)
    (path,) = folder.glob("*.safetensors")
    load = loading.load_checkpoint

    def then_change(*arguments: object, **options: object) -> object:
        model = load(*arguments, **options)  # type: ignore[arg-type]
        if how == "cut":
            os.truncate(path, path.stat().st_size // 2)
        elif how == "replaced":
            other = path.with_name("other")
            shutil.copy(path, other)
            other.replace(path)
        else:

            def fail(*_: object) -> int:
                raise OSError(5, "Input/output error")

            monkeypatch.setattr(os, "preadv", fail)
        return model

    monkeypatch.setattr("gptoss_mlx.generation.model_source.load_checkpoint", then_change)
    done = run_here("ask", QUESTION, "--model", str(folder), "--resident", "30%")

    assert done.returncode == 1
    assert path.name in done.stderr
    assert "Hint:" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("text", "share"), [("60%", 0.6), ("0.6", 0.6), (" 100 % ", 1.0), (".5", 0.5), ("1", 1)]
)
def test_a_share_is_read(text: str, share: float) -> None:
    """As a percentage or a fraction."""
    assert parse_share(text) == share


@pytest.mark.parametrize("text", ["", "%", "0", "0%", "-1", "101%", "60", "nan", "1e-1"])
def test_what_is_no_share_is_refused(text: str) -> None:
    """Also 60, which is 60 % to some and 6,000 % to others."""
    with pytest.raises(ValueError, match="must be"):
        parse_share(text)


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [("8GB", 8 * 10**9), ("8 gib", 8 << 30), ("1.5MB", 1_500_000), ("4096B", 4096)],
)
def test_an_amount_of_memory_is_read(text: str, nbytes: int) -> None:
    """GB are powers of ten and GiB of two, in any case."""
    assert parse_bytes(text) == nbytes


@pytest.mark.parametrize(
    "text", ["", "GB", "0GB", "-8GB", "8G B", "8XB", "inf", "4096", "８GB", "1001TB"]
)
def test_what_is_no_amount_is_refused(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(ValueError, match=r"must (be|have a unit)"):
        parse_bytes(text)
