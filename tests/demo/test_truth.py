"""What the demo model says of the product, compared with the product."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gptoss_mlx.chat.commands import COMMANDS
from gptoss_mlx.cli.app import app
from gptoss_mlx.config import RELEASED
from gptoss_mlx.device import Machine
from gptoss_mlx.llm import LLM
from gptoss_mlx.model_choice import plan_for
from gptoss_mlx.sharing.releases import RELEASES

ROOT = Path(__file__).parents[2]
DIALOGUES = json.loads(
    (ROOT / "examples" / "demo_model" / "dialogues.json").read_text(encoding="utf-8")
)["dialogues"]
ANSWERS = {dialogue["topic"]: dialogue["answer"] for dialogue in DIALOGUES}

COMMAND = re.compile(
    r"gptoss-mlx ((?:chat|ask|convert|doctor|download|verify|harmony|models)\b"
    r"(?: (?:rm|render|parse)\b)?)"
)


def help_of(command: str) -> str:
    """Run a command with ``--help``."""
    done = CliRunner().invoke(app, [*command.split(), "--help"])
    assert done.exit_code == 0, command
    return done.output


def commands_in(answer: str) -> list[str]:
    """The commands that an answer names."""
    return COMMAND.findall(answer)


@pytest.mark.parametrize("topic", [t for t, a in ANSWERS.items() if commands_in(a)])
def test_commands_of_answers_are_there(topic: str) -> None:
    """Each has a help, which lists the options that the answer names."""
    answer = ANSWERS[topic]
    helps = " ".join(help_of(command) for command in commands_in(answer))

    for option in re.findall(r"--[a-z][a-z-]+", answer):
        assert option in helps


def test_other_options_of_answers_are_there() -> None:
    """Where no command is named, one of these is meant, or the program itself."""
    helps = "".join(map(help_of, ("", "ask", "chat", "convert")))
    named = [
        option
        for answer in ANSWERS.values()
        if not commands_in(answer)
        for option in re.findall(r"--[a-z][a-z-]+", answer)
    ]

    assert len(named) > 5
    assert [option for option in named if option not in helps] == []


def test_every_command_is_named() -> None:
    """By the answer that lists them."""
    named = re.findall(r"[a-z]+", ANSWERS["the commands"])
    commands = [
        command.name or command.callback.__name__
        for command in app.registered_commands
        if command.callback
    ]
    groups = [group.name for group in app.registered_groups]

    assert {*commands, *groups} <= {*named}


def test_chat_commands_of_answers_are_there() -> None:
    """All of them are listed, and there are no others."""
    said = " ".join(ANSWERS.values())

    assert set(re.findall(r"(?<![\w/~.])/([a-z]+)\b", said)) == set(COMMANDS)


def test_files_and_targets_of_answers_are_there() -> None:
    """Paths within the repository, and what make makes."""
    said = " ".join(ANSWERS.values())
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)

    for path in re.findall(r"(?:examples|docs)/[\w/.-]+\w", said):
        assert (ROOT / path).is_file()
    assert {"chat", "test"} <= set(targets)
    for target in re.findall(r"make (chat|test)\b", said):
        assert target in targets
    for method in re.findall(r"model\.(\w+)\(", said):
        assert hasattr(LLM, method)


@pytest.mark.parametrize(("size", "gib", "limit"), [("20b", 24, 16.0), ("120b", 96, 72.0)])
def test_the_memory_that_answers_name_is_the_plan_s(
    size: str, gib: int, limit: float
) -> None:
    """Rounded, with q8; a Mac of the size that is recommended holds it."""
    machine = Machine(
        "Apple", "gpu", "bfloat16", gib << 30, int(limit * 2**30), "", (15, 6)
    )
    plan = plan_for(size, "q8", machine)
    said = ANSWERS[f"memory for {size}"]
    gigabytes = int(re.search(r"needs about (\d+) GB", said)[1])  # type: ignore[index]

    assert abs(gigabytes - plan.footprint.total_bytes / 1e9) < 1.5
    assert plan.fits
    assert f"{gib} GB" in said
    assert f"{gib} GB" in ANSWERS["which model to choose"]


def test_a_16_gb_mac_is_told_a_setting() -> None:
    """The answer on 20b's memory says so."""
    small = Machine("Apple", "gpu", "bfloat16", 16 << 30, int(10.67 * 2**30), "", (15, 6))

    assert not plan_for("20b", "q8", small).fits
    assert "16 GB chat shows the setting" in ANSWERS["memory for 20b"]


@pytest.mark.parametrize("size", ["20b", "120b"])
def test_sizes_in_answers_are_the_release_s(size: str) -> None:
    """Layers and experts as in config.json, bytes as pinned."""
    config, gigabytes = RELEASED[size], RELEASES[size].nbytes / 1e9

    assert (
        f"gpt-oss-{size} has {config.num_hidden_layers} layers"
        in ANSWERS["how the two models differ"]
    )
    assert re.search(
        rf"\b{config.num_local_experts} (experts )?in gpt-oss-{size}",
        ANSWERS["the number of experts"],
    )
    assert f"{gigabytes:.1f} GB for gpt-oss-{size}" in ANSWERS["the size of the download"]
