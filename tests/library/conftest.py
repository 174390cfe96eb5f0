from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gptoss_mlx.library.reading import read_document
from gptoss_mlx.library.text import Text


@pytest.fixture
def read(tmp_path: Path) -> Callable[[str, bytes], Text]:
    """Reads a file that has a name and a content."""

    def read_file(name: str, content: bytes) -> Text:
        path = tmp_path / name
        path.write_bytes(content)
        return read_document(path)

    return read_file
