from __future__ import annotations

from pathlib import Path

import pytest
from stub_machine import STUB_PYTHON, Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A Linux machine with glibc 2.39 and no Python."""
    return Machine(tmp_path)


@pytest.fixture
def ready(machine: Machine) -> Machine:
    """The same with Python 3.11, where .venv has been set up."""
    machine.command("python3.11", STUB_PYTHON)
    result = machine.set_up()
    assert result.returncode == 0, result.stderr
    return machine
