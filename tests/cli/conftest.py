from __future__ import annotations

from collections.abc import Iterator

import pytest
from terminal_runs import Terminals, terminals
from tiny_checkpoint import write_tiny_checkpoint

from gptoss_mlx.convert.pipeline import convert_checkpoint


@pytest.fixture(scope="session")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminals]:
    """Runs commands in real terminals; there are models, broken ones too."""
    folder = tmp_path_factory.mktemp("a-user-with-a-long-name")
    models = folder / ".gptoss-mlx" / "models"
    for name in ("gpt-oss-20b-q8", "gpt-oss-120b-exact.partial"):
        (models / name).mkdir(parents=True)
    write_tiny_checkpoint(folder / "tiny")
    convert_checkpoint(folder / "tiny", folder / "converted")
    with terminals(folder) as opened:
        yield opened
