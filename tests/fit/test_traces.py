from __future__ import annotations

import json
from pathlib import Path

import pytest

from gptoss_mlx.errors import StorageError, TraceError
from gptoss_mlx.fit import traces
from gptoss_mlx.fit.drawn_traces import draw_trace
from gptoss_mlx.fit.traces import load_trace, save_trace

HEAD = {
    "format": "gptoss-mlx routing trace",
    "version": 1,
    "experts": 8,
    "prompt_tokens": 0,
}
TOKEN = [[0, 1], [2, 7]]


def write(folder: Path, *lines: object) -> Path:
    """Write lines of JSON; bytes are written as they are."""
    path = folder / "trace.jsonl"
    texts = [
        line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines
    ]
    path.write_bytes(b"\n".join(texts))
    return path


def test_a_trace_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Numbers, experts and prompt."""
    path = tmp_path / "trace.jsonl"
    trace = draw_trace("flat", layers=3, experts=9, chosen=2, tokens=7, prompt_tokens=4)

    save_trace(trace, path)
    read = load_trace(path)

    assert (read.chosen == trace.chosen).all()
    assert read.chosen.dtype == trace.chosen.dtype
    assert (read.experts, read.prompt_tokens, read.tokens) == (9, 4, 7)


def test_a_trace_that_replaces_a_longer_one_is_read_alone(tmp_path: Path) -> None:
    """Nothing of the file before is left."""
    path = tmp_path / "trace.jsonl"
    for tokens in (9, 2):
        shape = {"layers": 1, "experts": 4, "chosen": 1}
        save_trace(draw_trace("flat", tokens=tokens, **shape), path)

    assert load_trace(path).tokens == 2


REFUSED: list[tuple[str, list[object], str]] = [
    ("empty", [], "its first line is not that of a routing trace."),
    ("other", [{"a": 1}, TOKEN], "its first line is not that of a routing trace."),
    ("list", [TOKEN, TOKEN], "its first line is not that of a routing trace."),
    ("binary", [b"\x93NUMPY\x01"], "line 1 must be JSON: "),
    ("deep", [b"[" * 200_000], "line 1 must be JSON: it is nested too deeply."),
    ("newer", [{**HEAD, "version": 2}, TOKEN], "version must be 1 but is 2."),
    ("no tokens", [HEAD], "has no tokens."),
    (
        "no experts",
        [{**HEAD, "experts": 0}, TOKEN],
        "experts must be a number from 1 to 10,000 but is 0.",
    ),
    (
        "experts as text",
        [{**HEAD, "experts": "8"}, TOKEN],
        "experts must be a number from 1 to 10,000 but is '8'.",
    ),
    (
        "all prompt",
        [{**HEAD, "prompt_tokens": 1}, TOKEN],
        "prompt_tokens must be a number from 0 to 0 but is 1.",
    ),
    (
        "true",
        [{**HEAD, "prompt_tokens": True}, TOKEN, TOKEN],
        "prompt_tokens must be a number from 0 to 1 but is True.",
    ),
    ("half a line", [HEAD, TOKEN, b"[[0, 1], [2,"], "line 3 must be JSON: "),
    ("a number", [HEAD, 3], "line 2 must be a list of lists of experts."),
    ("no layers", [HEAD, []], "line 2 must be a list of lists of experts."),
    ("no choice", [HEAD, [[], []]], "line 2 must be a list of lists of experts."),
    (
        "too many layers",
        [HEAD, [[0]] * 1_001],
        "line 2 must be a list of lists of experts.",
    ),
    ("fewer layers", [HEAD, TOKEN, [[0, 1]]], "line 3 must have 2 layers but has 1."),
    (
        "fewer experts",
        [HEAD, TOKEN, [[0, 1], [2]]],
        "line 3, layer 1 must have 2 experts but has 1.",
    ),
    (
        "uneven first token",
        [HEAD, [[0, 1], [2]]],
        "line 2, layer 1 must have 2 experts but has 1.",
    ),
    (
        "unknown expert",
        [HEAD, [[0, 8], [2, 7]]],
        "line 2, layer 0: an expert must be a number from 0 to 7 but is 8.",
    ),
    (
        "negative expert",
        [HEAD, [[0, -1], [2, 7]]],
        "line 2, layer 0: an expert must be a number from 0 to 7 but is -1.",
    ),
    (
        "a fraction",
        [HEAD, b"[[0, NaN], [2, 7]]"],
        "line 2, layer 0: an expert must be a number from 0 to 7 but is nan.",
    ),
    (
        "an expert as text",
        [HEAD, [["\u001b[2J", 0], [2, 7]]],
        "line 2, layer 0: an expert must be a number from 0 to 7 but is '\\x1b[2J'.",
    ),
    ("twice", [HEAD, [[0, 1], [2, 2]]], "line 2, layer 1 has an expert twice."),
]


@pytest.mark.parametrize(
    ("lines", "message"),
    [pytest.param(lines, message, id=name) for name, lines, message in REFUSED],
)
def test_a_file_that_is_no_trace_is_refused(
    tmp_path: Path, lines: list[object], message: str
) -> None:
    """The message names the file, the line, and the value."""
    path = write(tmp_path, *lines)

    with pytest.raises(TraceError) as caught:
        load_trace(path)

    assert str(caught.value).startswith(f"{path}: {message}")


def test_a_file_too_large_to_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not read into the memory first."""
    path = write(tmp_path, HEAD, TOKEN)
    monkeypatch.setattr(traces, "MAX_TRACE_BYTES", 20)

    with pytest.raises(TraceError, match="must have at most 20 bytes but has "):
        load_trace(path)


def test_a_folder_is_no_trace(tmp_path: Path) -> None:
    """The error says so, and a missing file is the system's own error."""
    with pytest.raises(TraceError, match=r"is not a file\."):
        load_trace(tmp_path)
    with pytest.raises(StorageError, match="No such file"):
        load_trace(tmp_path / "missing")
    with pytest.raises(StorageError, match="No such file"):
        save_trace(
            draw_trace("flat", layers=1, experts=2, chosen=1, tokens=1),
            tmp_path / "missing" / "trace",
        )
