"""``gptoss-mlx download USER/REPO``, and the commands that use what it has downloaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from local_hub import Answer, Hub, serve_hub
from program import Done, run_here

from gptoss_mlx.demo.folder import open_demo
from gptoss_mlx.manifest_digest import digest_of, model_id

REPO = "ada/gpt-oss-demo"
QUESTION = "What is gpt-oss?"

Run = Callable[..., Done]


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    """A Hub with the demo model, as somebody has converted and uploaded it."""
    with serve_hub() as hub:
        for path in open_demo(lambda line: None).folder.iterdir():
            hub.files[path.name] = path.read_bytes()
        yield hub


@pytest.fixture(scope="module")
def line(hub: Hub) -> str:
    """The line that names it."""
    return model_id("gpt-oss-demo", digest_of(open_demo(lambda line: None).folder))


@pytest.fixture(scope="module")
def run(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs commands on another machine, which has no model and that Hub."""
    machine = tmp_path_factory.mktemp("machine")
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.address,
        "HF_HOME": str(machine / "hf"),
        "GPTOSS_MLX_HOME": str(machine / "home"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }

    def run(*arguments: str) -> Done:
        done = subprocess.run(
            [sys.executable, "-m", "gptoss_mlx", *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="module")
def downloaded(run: Run, line: str) -> Done:
    """What the download has printed."""
    return run("download", f"{REPO}@{line.partition('@')[2]}")


def test_the_download_prints_the_folder(downloaded: Done, line: str) -> None:
    """On stdout; what it does, the digest and the next command on stderr."""
    said = downloaded.stderr.splitlines()

    assert downloaded.returncode == 0
    assert (Path(downloaded.stdout.strip()) / "manifest.json").is_file()
    assert said[0] == f"Downloading {REPO}, 0.1 GB."
    assert said[1].startswith("Downloading: 0.13 GB of 0.13 GB, ")
    assert said[-2] == f"Every byte is as in the manifest: {line}"
    assert said[-1] == f"To use it: gptoss-mlx chat {REPO}"


@pytest.mark.usefixtures("downloaded")
def test_it_answers(run: Run) -> None:
    """By its name: where it is read from is said, and that no more is verified."""
    done = run("ask", REPO, QUESTION)

    assert done.returncode == 0
    assert "OpenAI" in done.stdout
    assert f"{REPO} is read from the Hugging Face cache: " in done.stderr
    assert "Verifying" not in done.stderr


def test_it_is_listed(run: Run, downloaded: Done) -> None:
    """With the name that opens it; a script gets the path and the digest too."""
    row = run("models").stdout.splitlines()[-1].split()
    (model,) = json.loads(run("models", "--json").stdout)

    assert row == [REPO, "other", "exact", "0.13", "GB", "ready"]
    assert model["path"] == downloaded.stdout.strip()
    assert model["digest"] == digest_of(Path(model["path"]))


@pytest.mark.usefixtures("downloaded")
def test_it_can_be_verified(run: Run, line: str) -> None:
    """The line has its repository's name."""
    done = run("verify", REPO)

    assert done.returncode == 0
    assert done.stdout.splitlines()[1] == f"digest: {line}"


@pytest.mark.usefixtures("downloaded")
def test_it_is_not_removed_here(run: Run) -> None:
    """Other programs use the cache too: the hint is the command of its own program."""
    done = run("models", "rm", "--yes", REPO)

    assert done.returncode == 1
    assert done.stderr.endswith(f"Hint: hf cache rm model/{REPO}\n")


@pytest.mark.usefixtures("downloaded")
def test_it_is_not_shared(run: Run) -> None:
    """The other machine gets it from the Hub as well."""
    done = run("share", REPO)

    assert done.returncode == 1
    assert done.stderr.endswith(f"Hint: On the other machine: gptoss-mlx download {REPO}\n")


@pytest.mark.parametrize(
    ("arguments", "status", "error", "hint"),
    [
        (
            ("download", REPO, "--recipe", "q8"),
            2,
            f"--recipe: is for OpenAI's releases; {REPO} is used as it is.",
            "See gptoss-mlx download --help",
        ),
        (
            ("download", REPO, "--convert"),
            2,
            f"--convert: is for OpenAI's releases; {REPO} is used as it is.",
            "See gptoss-mlx download --help",
        ),
        (
            ("chat", "ada/nothing"),
            1,
            "'ada/nothing' is not a folder or a model in ",
            "If it is on the Hub: gptoss-mlx download ada/nothing",
        ),
    ],
)
def test_what_cannot_be_had(
    arguments: tuple[str, ...], status: int, error: str, hint: str
) -> None:
    """One error, and the next command."""
    done = run_here(*arguments)

    assert done.returncode == status
    assert error in done.stderr
    assert f"Hint: {hint}" in done.stderr
    assert done.stdout == ""


def test_a_repository_that_is_not_there(run: Run, hub: Hub) -> None:
    """Or a private one: the Hub does not tell them apart."""
    hub.lie = lambda asked: Answer(401)
    done = run("download", "ada/nothing")
    hub.lie = lambda asked: None

    assert done.returncode == 1
    assert "ada/nothing must be a model on the Hub, but 127.0.0.1 answers" in done.stderr
    assert "log in: hf auth login" in done.stderr
