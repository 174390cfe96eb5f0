from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Before MLX is imported: its default turns float32 products into TF32 on some devices.
os.environ["MLX_ENABLE_TF32"] = "0"

import pytest
from evidence import EVIDENCE, NETWORK, Note, evidence_lines, watch_network
from golden import Case, write_case
from huggingface_hub import constants

_ON_A_MAC = os.uname().sysname == "Darwin"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs an Apple GPU where there is none."""
    for item in items:
        if item.get_closest_marker("metal") and not _ON_A_MAC:
            item.add_marker(pytest.mark.skip(reason="needs an Apple GPU"))


def pytest_configure() -> None:
    """Watch what the tests try to reach, from the first on."""
    watch_network()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tell the process that prints the summary, where there are several."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["network"] = NETWORK


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Hear what another process has tried to reach."""
    NETWORK.extend(getattr(node, "workeroutput", {}).get("network", []))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was measured."""
    noted: dict[str, list[float]] = {}
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name in EVIDENCE and report.when == "call":
                noted.setdefault(name, []).append(value)
    terminalreporter.section("evidence")
    for line in evidence_lines(noted):
        terminalreporter.line(line)


@pytest.fixture
def note(record_property: Note) -> Note:
    """Notes a number for the lines at the end."""

    def add(name: str, value: float) -> None:
        assert name in EVIDENCE
        record_property(name, value)

    return add


@pytest.fixture(scope="session", autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep every test out of the user's own ~/.gptoss-mlx and Hugging Face cache.

    Processes that test side by side share one, so that the demo is unpacked once.
    """
    base = tmp_path_factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPTOSS_MLX_HOME", str(root / "home"))
        patch.setenv("HF_HOME", str(root / "huggingface"))
        patch.setattr(constants, "HF_HUB_CACHE", str(root / "huggingface" / "hub"))
        yield


@pytest.fixture
def ctrl_c_is_heard() -> Iterator[None]:
    """Let a process that is started hear Ctrl-C: one in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Released(dict[Case, Path]):
    """Golden cases' checkpoints, each written when it is first asked for."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def __missing__(self, case: Case) -> Path:
        """Write it."""
        folder = self[case] = self._root / str(case)
        folder.mkdir()
        write_case(case, folder)
        return folder


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory) -> dict[Case, Path]:
    """Every golden case's checkpoint, as Hugging Face has it, ``original/`` inside."""
    return Released(tmp_path_factory.mktemp("released"))
