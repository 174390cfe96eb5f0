from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from program import Done, run_here, run_offline

SOURCE = Path(__file__).parents[2] / "examples" / "demo_model" / "dialogues.json"
ANSWERS = {
    question: dialogue["answer"]
    for dialogue in json.loads(SOURCE.read_text(encoding="utf-8"))["dialogues"]
    for question in dialogue["questions"]
}


def ask(*arguments: str, stdin: bytes = b"") -> Done:
    """Run the command."""
    return run_here("ask", *arguments, stdin=stdin)


def test_the_answer_alone_is_on_stdout() -> None:
    """One line, as the model wrote it; no network is asked for."""
    done = run_offline("ask", "What is gpt-oss?")

    assert done.returncode == 0
    assert done.stdout == ANSWERS["What is gpt-oss?"] + "\n"
    assert done.attempts == "[]"


def test_json_has_messages_tokens_and_timings() -> None:
    """The whole conversation as harmony has it; what was counted adds up."""
    options = ["--effort", "low", "--system", "Be brief."]
    done = run_offline("ask", "--json", "What is gpt-oss?", *options)
    told = json.loads(done.stdout)
    by_role = {message["role"]: message for message in told["messages"]}

    assert done.attempts == "[]"
    assert told["answer"]
    assert told["reason"] == "stop"
    assert by_role["system"]["content"][0]["reasoning_effort"] == "Low"
    assert by_role["developer"]["content"][0]["instructions"] == "Be brief."
    assert by_role["user"]["content"][0]["text"] == "What is gpt-oss?"
    assert by_role["assistant"]["channel"] == "final"
    tokens = told["tokens"]
    assert tokens["context"] == tokens["prompt"] + tokens["generated"]
    assert 0 <= tokens["reasoning"] < tokens["generated"]
    assert all(value > 0 for value in told["timings"].values())


def test_stdin_is_context() -> None:
    """It goes before the question; bytes that are no UTF-8 do no harm."""
    done = ask(
        "--json", "What is in it?", "--max-tokens", "1", stdin=b"\xef\xbb\xbfa \xff list\n"
    )
    (user,) = (m for m in json.loads(done.stdout)["messages"] if m["role"] == "user")

    assert user["content"][0]["text"] == "a \ufffd list\n\nWhat is in it?"


def test_stdin_alone_is_the_question() -> None:
    """As for chat."""
    done = ask(stdin=b"Hello\n")

    assert done.stdout == ANSWERS["Hello"] + "\n"


def test_an_answer_that_was_cut_is_said_to_be() -> None:
    """What there is of it is on stdout."""
    done = ask("What is gpt-oss?", "--max-tokens", "25")

    assert done.returncode == 0
    assert done.stdout
    assert ANSWERS["What is gpt-oss?"].startswith(done.stdout.strip())
    assert "cut after 25 tokens" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "stdin", "message", "hint"),
    [
        ([], b" \n", "A question is missing.", "Ask one"),
        (["Hm?"], b"ELF\0", "stdin: a binary file", "Save it as PDF"),
        (["Hm?", "-m", "no/model"], b"", "'no/model' is not a folder or a model", ""),
        (
            ["What is gpt-oss?", "--max-tokens", "5"],
            b"",
            "still reasoning after 5 tokens",
            "Allow more tokens: --max-tokens 50",
        ),
    ],
    ids=["no question", "no text", "no model", "no room"],
)
def test_what_cannot_be_answered_is_an_error(
    arguments: list[str], stdin: bytes, message: str, hint: str
) -> None:
    """Exit 1, nothing on stdout, one error and its hint."""
    done = ask(*arguments, stdin=stdin)
    error, said = done.stderr.splitlines()[-2:]

    assert (done.returncode, done.stdout) == (1, "")
    assert message in error
    assert said.startswith(f"Hint: {hint}")


@pytest.mark.parametrize(
    "option", [["--effort", "huge"], ["--max-tokens", "0"], ["--temperature", "-1"]]
)
def test_options_out_of_range_are_bad_usage(option: list[str]) -> None:
    """Exit 2, before a model is loaded."""
    assert ask("Hm?", *option).returncode == 2


def test_a_seed_repeats_an_answer() -> None:
    """At a temperature that makes them differ otherwise."""
    wild = ["Hello", "--temperature", "3", "--max-tokens", "30", "--json"]
    first, again, other = (
        json.loads(ask(*wild, "--seed", seed).stdout)["messages"] for seed in "112"
    )

    assert first == again
    assert first != other


# Runs the command, and says when it begins to read a prompt, which takes 10 s.
READING = """
import time
from gptoss_mlx.generation.prompt_cache import PromptCache
def prefill(*_):
    print("reading", flush=True)
    time.sleep(10)
PromptCache.prefill = prefill
from gptoss_mlx.cli.app import main
main()
"""


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_a_signal_while_the_prompt_is_read_ends_it_at_once(
    ctrl_c_is_heard: None, number: signal.Signals, status: int
) -> None:
    """It does not wait for the chunk that is being computed."""
    with subprocess.Popen(
        [sys.executable, "-c", READING, "ask", "--model", "demo", "Hello"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"reading\n"
        time.sleep(0.1)  # The asker waits by now.
        began = time.monotonic()
        process.send_signal(number)
        assert process.wait() == status
        ended_s = time.monotonic() - began

    assert ended_s < 0.5
