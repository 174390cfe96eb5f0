from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from gptoss_mlx.errors import ConfigError, StorageError
from gptoss_mlx.files import read_json_object, short


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir])
def test_a_pipe_or_folder_is_no_json_file(make: Any, tmp_path: Path) -> None:
    """It is refused at once, where opening a pipe would wait for ever."""
    path = tmp_path / "some.json"
    make(path)
    with pytest.raises(ConfigError) as caught:
        read_json_object(path)

    assert str(caught.value) == f"{path}: must be a file but is none."


def test_a_missing_json_file_is_a_storage_error(tmp_path: Path) -> None:
    """The operating system's words, with the path."""
    path = tmp_path / "some.json"

    with pytest.raises(StorageError, match=f"^{re.escape(str(path))}: No such file"):
        read_json_object(path)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "'a'"),
        ("a\nb", r"'a\nb'"),
        ("x" * 78, repr("x" * 78)),
        ("x" * 79, "'" + "x" * 76 + "..."),
        pytest.param(10**5_000, "something very large", id="10^5000"),
    ],
)
def test_a_value_in_a_message_is_short(value: object, text: str) -> None:
    """It is escaped, on one line, and at most 80 characters long."""
    assert short(value) == text
