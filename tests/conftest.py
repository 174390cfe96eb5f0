from __future__ import annotations

import os
from pathlib import Path

# Before MLX is imported: its default turns float32 products into TF32 on some devices.
os.environ["MLX_ENABLE_TF32"] = "0"

import pytest
from golden import CASES, Case, write_case

_ON_A_MAC = os.uname().sysname == "Darwin"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs an Apple GPU where there is none."""
    for item in items:
        if item.get_closest_marker("metal") and not _ON_A_MAC:
            item.add_marker(pytest.mark.skip(reason="needs an Apple GPU"))


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory) -> object:
    """Keep every test out of the user's own ~/.gptoss-mlx."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.getbasetemp() / "home"
        patch.setenv("GPTOSS_MLX_HOME", str(home))
        yield home


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory) -> dict[Case, Path]:
    """Every golden case's checkpoint, as Hugging Face has it, ``original/`` inside."""
    folders = {}
    for case in CASES:
        folders[case] = tmp_path_factory.mktemp("released") / str(case)
        folders[case].mkdir()
        write_case(case, folders[case])
    return folders
