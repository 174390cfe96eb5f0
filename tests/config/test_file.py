"""The file config.json."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from released_config import GPT_OSS_20B, MXFP4, ORIGINAL, RELEASED, changed, write

from gptoss_mlx.config_json import read_config
from gptoss_mlx.errors import (
    ConfigError,
    NoCheckpointError,
    NoPermissionError,
    QuantizationError,
)
from gptoss_mlx.files import MAX_JSON_BYTES, has_file


def test_a_folder_without_config_is_refused(tmp_path: Path) -> None:
    """The message names the folder and what it must have."""
    with pytest.raises(NoCheckpointError) as caught:
        read_config(tmp_path)

    assert str(caught.value) == f"{tmp_path} must have a config.json but has none."
    assert caught.value.hint == NoCheckpointError.hint


def test_a_folder_with_a_config_in_original_only_hints_at_it(tmp_path: Path) -> None:
    """Who fetched OpenAI's own files alone is told which folder to name."""
    (tmp_path / "original").mkdir()
    write(tmp_path / "original", json.dumps(ORIGINAL))
    with pytest.raises(NoCheckpointError) as caught:
        read_config(tmp_path)

    assert caught.value.hint == f"Name the folder inside it: {tmp_path / 'original'}"
    assert read_config(tmp_path / "original") == GPT_OSS_20B


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("x")])
def test_a_config_that_is_no_file_is_none(make: Any, tmp_path: Path) -> None:
    """A pipe, a folder or a dangling link is no config.json, and nothing waits for it."""
    make(tmp_path / "config.json")

    assert not has_file(tmp_path / "config.json")
    with pytest.raises(NoCheckpointError, match=r"must have a config\.json but has none"):
        read_config(tmp_path)


def test_a_linked_config_is_read(tmp_path: Path) -> None:
    """Hugging Face's cache holds nothing but links."""
    (tmp_path / "blob").write_text(json.dumps(RELEASED))
    (tmp_path / "config.json").symlink_to("blob")

    assert read_config(tmp_path) == GPT_OSS_20B


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "must be JSON: Expecting value: line 1 column 1 (char 0)."),
        (
            '{"model_type": "gpt_oss"',
            "must be JSON: Expecting ',' delimiter: line 1 column 25 (char 24).",
        ),
        (
            b'{"\xff": 1}',
            "must be JSON: 'utf-8' codec can't decode byte 0xff in position 2: "
            "invalid start byte.",
        ),
        ("[1]", "must be a JSON object but is [1]."),
        ("null", "must be a JSON object but is None."),
        ('"text"', "must be a JSON object but is 'text'."),
    ],
)
def test_a_file_that_is_no_json_object_is_refused(
    content: str | bytes, reason: str, tmp_path: Path
) -> None:
    """The message names the file, says what is wrong and where."""
    path = write(tmp_path, content)
    with pytest.raises(ConfigError) as caught:
        read_config(tmp_path)

    assert str(caught.value) == f"{path}: {reason}"
    assert caught.value.hint == "Download config.json again from the checkpoint's source."


@pytest.mark.parametrize("depth", [900, 940, 960, 980, 1_000, 100_000])
@pytest.mark.parametrize("key", ["hidden_size", "model_type", "quantization"])
def test_deep_nesting_is_refused(depth: int, key: str, tmp_path: Path) -> None:
    """Neither the parser nor the message falls over it."""
    text = json.dumps(changed(key, "HERE"))
    write(tmp_path, text.replace('"HERE"', "[" * depth + "]" * depth))

    with pytest.raises(ConfigError) as caught:
        read_config(tmp_path)

    assert len(str(caught.value)) <= len(str(tmp_path)) + 150


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 5_000])
def test_numbers_that_json_should_not_have_are_refused(number: str, tmp_path: Path) -> None:
    """What Python's parser lets through is refused after it."""
    text = json.dumps(changed("rms_norm_eps", "HERE"))
    write(tmp_path, text.replace('"HERE"', number))

    with pytest.raises(ConfigError, match=r"config\.json: "):
        read_config(tmp_path)


def test_half_a_surrogate_pair_is_shown_escaped(tmp_path: Path) -> None:
    """A message can be printed whatever the file says."""
    text = json.dumps(changed("quantization", {**MXFP4, "HERE": 1}))
    write(tmp_path, text.replace("HERE", "\\ud800\\u001b[2J"))
    with pytest.raises(QuantizationError) as caught:
        read_config(tmp_path)

    assert r"quantization: '\ud800\x1b[2J' must be an object" in str(caught.value)
    assert str(caught.value).encode()


def test_a_file_far_too_large_is_not_read(tmp_path: Path) -> None:
    """Weights under the name of config.json do not fill the memory."""
    path = write(tmp_path, "{}")
    os.truncate(path, 13_761_316_904)
    with pytest.raises(ConfigError) as caught:
        read_config(tmp_path)

    assert str(caught.value) == (
        f"{path}: must have at most {MAX_JSON_BYTES:,} bytes but has 13,761,316,904."
    )


@pytest.mark.parametrize("place", ["pathlib.Path.stat", "os.open"])
def test_an_unreadable_config_is_a_permission_error(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal of the operating system is not taken for an absence."""
    path = write(tmp_path, json.dumps(RELEASED))

    def refuse(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(place, refuse)
    with pytest.raises(NoPermissionError) as caught:
        read_config(tmp_path)

    assert str(caught.value) == f"{path}: Permission denied."
