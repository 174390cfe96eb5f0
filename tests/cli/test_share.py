"""``gptoss-mlx share`` in a process, and ``gptoss-mlx pull`` from it."""

from __future__ import annotations

import io
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
from folders import digests
from local_hub import Asked
from local_peer import serve_peer
from program import run_here
from small_conversion import convert
from tiny_checkpoint import write_tiny_checkpoint

from gptoss_mlx.cli.fetch_view import FetchLines
from gptoss_mlx.cli.share import _tell
from gptoss_mlx.manifest_digest import digest_of
from gptoss_mlx.sharing.fetchers import Fetchers
from gptoss_mlx.sharing.serve import serve

# SIGINT is ignored by what a shell starts in the background.
PROGRAM = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv = ["gptoss-mlx", "share", *sys.argv[1:]]
from gptoss_mlx.cli.app import main
main()
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A converted folder. No other test of this machine shares one of its name."""
    folder = tmp_path_factory.mktemp("shared")
    name = f"tiny{secrets.token_hex(4)}"
    write_tiny_checkpoint(folder / name)
    convert(folder / name, folder / f"{name}-q8")
    return folder / f"{name}-q8"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store, and a network of this machine alone."""
    monkeypatch.setenv("GPTOSS_MLX_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("gptoss_mlx.sharing.announce.INTERFACES", ["127.0.0.1"])
    return tmp_path / "home"


@pytest.fixture(scope="module")
def sharing(shared: Path) -> Iterator[subprocess.Popen[str]]:
    """The command, which has begun to share; ``args`` has what it printed."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(shared), "--host", "127.0.0.1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.args = process.stdout.readline().split()
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_the_printed_command_fetches_the_model(
    sharing: subprocess.Popen[str], shared: Path, home: Path
) -> None:
    """It names the address, the model and its digest; the folder is printed."""
    assert isinstance(sharing.args, list)
    program, *command = map(str, sharing.args)
    digest = digest_of(shared)

    assert (program, command[0]) == ("gptoss-mlx", "pull")
    assert command[1].startswith("http://127.0.0.1:")
    assert command[1].endswith(f"/{shared.name}@{digest[:32]}")

    done = run_here(*command)

    assert (done.returncode, done.stdout) == (0, f"{home}/models/{shared.name}\n")
    assert digests(home / "models" / shared.name) == digests(shared)
    needs_none = f"so {shared.name}@{digest[:32]} needs no verify before its first use."
    assert done.stderr.endswith(f"Every byte was checked, {needs_none}\n")


def test_what_is_shared_is_listed_and_fetched_by_name(
    sharing: subprocess.Popen[str], shared: Path, home: Path
) -> None:
    """Also by the beginning of its name; the digest is told."""
    listed = json.loads(run_here("pull", "--json").stdout)
    (entry,) = [entry for entry in listed if entry["name"] == shared.name]
    lines = run_here("pull").stdout.splitlines()
    (line,) = [line for line in lines if shared.name in line]
    start = shared.name.removesuffix("-q8")
    done = run_here("pull", f"{start}@{digest_of(shared)}")

    assert (entry["digest"], entry["recipe"]) == (digest_of(shared), "q8")
    assert line.split()[0] == entry["url"]
    assert done.stdout == f"{home}/models/{shared.name}\n"


def test_ctrl_c_ends_sharing_in_order(shared: Path, home: Path) -> None:
    """With exit status 0, since nothing else ends it."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(shared), "--host", "127.0.0.1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    command = process.stdout.readline().split()
    run_here(*command[1:])
    fetched = f"127.0.0.1 fetches {shared.name}/manifest.json: 100 %\n"
    lines: list[str] = []
    try:
        # Who fetches what is printed a moment later.
        while fetched not in lines and (not lines or lines[-1]):
            lines.append(process.stderr.readline())
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=20)
    finally:
        process.kill()
    told = "".join(lines) + rest

    assert process.returncode == 0
    assert told.splitlines()[0].startswith(f"Sharing {shared}, ")
    assert fetched in told
    assert told.endswith("Stopped sharing.\n")
    assert "Traceback" not in told


def test_a_name_that_nobody_shares(home: Path) -> None:
    """A released model can be downloaded instead."""
    done = run_here("pull", "gpt-oss:20b")

    assert done.returncode == 1
    assert "Error: No machine on this network shares 20b.\n" in done.stderr
    assert done.stderr.endswith(
        "Hint: From the Hugging Face Hub: gptoss-mlx download 20b\n"
    )


def test_ctrl_c_tells_how_to_continue(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the digest, if the command had one."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gptoss_mlx.sharing.pull.pull_model", interrupted)
    url = f"http://10.0.0.5:8765/tiny@{'0' * 32}"

    done = run_here("pull", url)

    assert done.returncode == 130
    assert done.stderr == f"Stopped. To continue: gptoss-mlx pull {url}\n"


def test_ctrl_c_ends_a_pull_that_hangs(shared: Path, home: Path) -> None:
    """At once, with what was fetched kept, and the command that continues."""
    program = PROGRAM.replace('"share"', '"pull"')
    hanging = threading.Event()
    with serve_peer(shared) as peer:
        last = sorted(name for name in peer.files if name.endswith(".safetensors"))[-1]

        def hang(asked: Asked) -> None:
            if asked.name == last:
                hanging.set()
                released.wait(30)

        released = threading.Event()
        peer.lie = hang
        url = peer.address(peer.digest).url
        process = subprocess.Popen(
            [sys.executable, "-c", program, url], stderr=subprocess.PIPE, text=True
        )
        try:
            assert hanging.wait(30)
            # The files before it are written.
            time.sleep(0.5)
            began = time.monotonic()
            process.send_signal(signal.SIGINT)
            _, told = process.communicate(timeout=20)
        finally:
            process.kill()
            released.set()
        ended = time.monotonic() - began

    assert ended < 5
    assert process.returncode == 130
    assert told.endswith(f"Stopped. To continue: gptoss-mlx pull {url}\n")
    assert "Traceback" not in told
    partial = home / "models" / f"{shared.name}.partial"
    assert sum(path.stat().st_size for path in partial.iterdir()) > 100_000


def test_a_model_without_a_manifest_is_not_shared(tmp_path: Path) -> None:
    """The hint is the command that makes one."""
    (tmp_path / "x").mkdir()

    done = run_here("share", str(tmp_path / "x"))

    assert done.returncode == 1
    assert f"{tmp_path}/x must have a manifest.json but has none." in done.stderr


@pytest.mark.parametrize("option", ["--to", "--host", "--hub"])
def test_an_option_from_a_variable_that_is_not_set(
    shared: Path, option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``--to "$DISK"`` is not for this folder, and ``--host`` not for all networks."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gptoss_mlx.cli.share.share_on_network", lambda *_, **__: None)

    done = run_here("share", str(shared), option, "")

    assert done.returncode == 2
    assert done.stderr.startswith(f"Error: {option}: must not be empty.\n")


def test_two_ways_to_share_are_refused_in_plain_words(shared: Path) -> None:
    """No option alone is wrong, so none is named."""
    done = run_here("share", str(shared), "--to", "x", "--hub", "ada/tiny")

    assert done.returncode == 2
    assert done.stderr.startswith("Error: --to is for a disk, --hub for the Hub, ")


def test_the_demo_model_is_made_to_be_shared(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine that has not opened it yet."""
    monkeypatch.chdir(tmp_path)

    done = run_here("share", "demo", "--to", ".")

    assert done.returncode == 0
    assert "Unpacking the demo model, which takes a few seconds once." in done.stderr
    assert done.stdout == "demo\n"
    # Not ``chat demo``, which is the one in the store.
    assert "To use it there: gptoss-mlx chat ./demo\n" in done.stderr


class Terminal(io.StringIO):
    """A text that says it is a terminal."""

    def isatty(self) -> bool:
        """It is one."""
        return True


def test_a_terminal_shows_a_qr_code(
    shared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the address, with the digest, for a camera; stdout has the command only."""
    terminal = Terminal()
    stream: IO[str] = terminal
    with serve(shared, host="127.0.0.1", port=0) as server:
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setenv("COLUMNS", "200")
        _tell(shared, server, ["127.0.0.1", "10.0.0.5"])

    told = terminal.getvalue()
    assert "If 127.0.0.1 cannot be reached from there: 10.0.0.5" in told
    assert "A phone that reads this shows the command" in told
    assert told.count("█") > 50
    assert max(map(len, told.splitlines())) < 80 + len(str(shared))
    assert capsys.readouterr().out.startswith("gptoss-mlx pull http://127.0.0.1:")


def test_a_fetch_has_a_line_at_its_begin_and_end() -> None:
    """And none in between for ten seconds; a second fetch begins again."""
    fetchers = Fetchers()
    lines = FetchLines(fetchers)
    told = []
    for nbytes in (100, 100, 799, 1, 500):
        fetchers.sent("10.0.0.7", "tiny/a", nbytes, 1000)
        told.append(lines.news())

    assert told == [
        ["10.0.0.7 fetches tiny/a: 10 %"],
        [],
        [],
        ["10.0.0.7 fetches tiny/a: 100 %"],
        ["10.0.0.7 fetches tiny/a: 50 %"],
    ]


def test_help_does_not_wait_for_the_network_packages() -> None:
    """They are imported inside the commands."""
    program = (
        "import sys\nfrom gptoss_mlx.cli import pull, share\n"
        "print({'mlx', 'uvicorn', 'starlette', 'zeroconf', 'segno'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert done.stdout == "set()\n"
    assert os.environ["GPTOSS_MLX_HOME"]
