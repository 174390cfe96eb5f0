"""Routing traces, and their file: which experts each token chose in each layer.

The file is JSON Lines. The first line is an object: ``format``, ``version``, ``experts``
of a layer, ``prompt_tokens``. Each further line is a token: a list of layers, each a list
of the experts it chose.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gptoss_mlx.errors import TraceError, WrongFileError, storage_errors
from gptoss_mlx.files import parse_json, read_file, short

__all__ = ["MAX_TRACE_BYTES", "Trace", "load_trace", "save_trace"]

FORMAT, VERSION = "gptoss-mlx routing trace", 1

# 120b writes about 600 bytes a token.
MAX_TRACE_BYTES = 256 << 20

MAX_LAYERS, MAX_EXPERTS = 1_000, 10_000


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """The experts that each token chose in each layer.

    Attributes:
        chosen: Distinct numbers of experts. Shape ``(tokens, layers, chosen)``.
        experts: Experts of a layer; each number is below.
        prompt_tokens: How many of the tokens come before what is simulated. They warm the
            cache up, and are not counted.
    """

    chosen: npt.NDArray[np.int32]
    experts: int
    prompt_tokens: int = 0

    @property
    def tokens(self) -> int:
        """Tokens, those of the prompt included."""
        return int(self.chosen.shape[0])


def save_trace(trace: Trace, path: Path) -> None:
    """Write a trace. A file of that name is replaced.

    Raises:
        StorageError: The system refuses.
    """
    head = {
        "format": FORMAT,
        "version": VERSION,
        "experts": trace.experts,
        "prompt_tokens": trace.prompt_tokens,
    }
    with storage_errors(path), path.open("w", encoding="ascii") as file:
        for line in chain([head], trace.chosen.tolist()):
            file.write(json.dumps(line, separators=(",", ":")) + "\n")


def load_trace(path: Path) -> Trace:
    """Read a trace, and check every number of it.

    Raises:
        TraceError: The file is not a trace, or a line of it is wrong.
        StorageError: It cannot be read.
    """
    try:
        lines = read_file(path, max_bytes=MAX_TRACE_BYTES).splitlines()
    except WrongFileError as error:
        raise TraceError(str(error), hint=error.hint) from error
    head = _parsed(path, lines[0], 1) if lines else None
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise TraceError(f"{path}: its first line is not that of a routing trace.")
    if head.get("version") != VERSION:
        raise TraceError(
            f"{path}: version must be {VERSION} but is {short(head.get('version'))}."
        )
    if len(lines) < 2:
        raise TraceError(f"{path}: has no tokens.")
    experts = _number(path, head, "experts", 1, MAX_EXPERTS)
    prompt_tokens = _number(path, head, "prompt_tokens", 0, len(lines) - 2)
    first = _token(path, lines[1], 2, experts, None)
    shape = (len(first), len(first[0]))
    chosen = np.empty((len(lines) - 1, *shape), np.int32)
    for number, line in enumerate(lines[1:], 2):
        chosen[number - 2] = _token(path, line, number, experts, shape)
    return Trace(chosen, experts, prompt_tokens)


def _parsed(path: Path, line: bytes, number: int) -> Any:
    try:
        return parse_json(line)
    except ValueError as error:
        raise TraceError(f"{path}: line {number} must be JSON: {error}.") from error


def _number(path: Path, head: dict[str, Any], key: str, least: int, most: int) -> int:
    value = head.get(key)
    if type(value) is not int or not least <= value <= most:
        raise TraceError(
            f"{path}: {key} must be a number from {least:,} to {most:,} "
            f"but is {short(value)}."
        )
    return value


def _token(
    path: Path, line: bytes, number: int, experts: int, shape: tuple[int, int] | None
) -> list[list[int]]:
    """Parse a token's line. Without ``shape``, its own is the one that the others have."""
    value = _parsed(path, line, number)
    if not (
        isinstance(value, list)
        and 0 < len(value) <= MAX_LAYERS
        and all(isinstance(layer, list) and layer for layer in value)
    ):
        raise TraceError(f"{path}: line {number} must be a list of lists of experts.")
    layers, chosen = shape or (len(value), len(value[0]))
    if len(value) != layers:
        raise TraceError(
            f"{path}: line {number} must have {layers} layers but has {len(value)}."
        )
    for layer, each in enumerate(value):
        if len(each) != chosen:
            raise TraceError(
                f"{path}: line {number}, layer {layer} must have {chosen} experts "
                f"but has {len(each)}."
            )
        for expert in each:
            if type(expert) is not int or not 0 <= expert < experts:
                raise TraceError(
                    f"{path}: line {number}, layer {layer}: an expert must be a number "
                    f"from 0 to {experts - 1} but is {short(expert)}."
                )
        if len(set(each)) != chosen:
            raise TraceError(f"{path}: line {number}, layer {layer} has an expert twice.")
    return value
