"""Compares the demo model on this machine's device with OpenAI's reference.

The golden logits were made by OpenAI's torch implementation in float32, with the same
weights, by tests/parity/make_demo_golden.py. MLX must not compute float32 as TF32:
``MLX_ENABLE_TF32=0``, which the doctor command sets.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from importlib import resources
from typing import NamedTuple

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from gptoss_mlx.checkpoint.folder import Checkpoint
from gptoss_mlx.errors import DataError
from gptoss_mlx.model.loading import load_model

__all__ = ["BOUNDS", "GOLDEN", "Golden", "LogitsCheck", "check_logits", "read_golden"]

GOLDEN = "demo_logits.npz"

BOUNDS = {"float32": 1e-3, "bfloat16": 0.5}
"""The largest allowed difference of logits. In bf16, with 8 bits per value, it finds only
large errors; float32 checks that results are correct."""


@dataclass(frozen=True, slots=True)
class LogitsCheck:
    """A comparison with the reference.

    Attributes:
        dtype: The dtype of the computation.
        difference: The largest difference of any logit.
        bound: The largest allowed difference.
        positions: How many positions were compared.
        same_choice: At how many of them the likeliest token is the reference's.
        tokens_per_s: Prefill speed.
    """

    dtype: str
    difference: float
    bound: float
    positions: int
    same_choice: int
    tokens_per_s: float

    @property
    def passed(self) -> bool:
        """Whether the bound holds and, in float32, every choice is the reference's."""
        same = self.dtype != "float32" or self.same_choice == self.positions
        return self.difference <= self.bound and same


def check_logits(checkpoint: Checkpoint, dtype: mx.Dtype) -> LogitsCheck:
    """Compute the logits of a fixed text, and compare them.

    Args:
        checkpoint: The converted demo model.
        dtype: The dtype to compute in.

    Raises:
        DataError: The golden logits are missing from the package.
        GptOssError: As in ``load_model``.
    """
    tokens, positions, ids, golden = read_golden()
    model = load_model(checkpoint, dtype=dtype)
    begun = time.perf_counter()
    hidden = model.model(mx.array(tokens[None]))[:, mx.array(positions)]
    logits = np.array(model.lm_head(hidden)[0].astype(mx.float32))  # (P, V)
    seconds = time.perf_counter() - begun
    ours = logits[:, ids]
    name = str(dtype).removeprefix("mlx.core.")
    return LogitsCheck(
        dtype=name,
        difference=float(np.abs(ours - golden).max()),
        bound=BOUNDS[name],
        positions=len(positions),
        same_choice=int((ours.argmax(-1) == golden.argmax(-1)).sum()),
        tokens_per_s=len(tokens) / seconds,
    )


class Golden(NamedTuple):
    """A text, and OpenAI's logits of some of its positions for some tokens.

    Attributes:
        tokens: Shape ``(T,)``.
        positions: Shape ``(P,)``.
        ids: Tokens whose logits are compared. Shape ``(N,)``.
        logits: Shape ``(P, N)``.
    """

    tokens: npt.NDArray[np.int32]
    positions: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int64]
    logits: npt.NDArray[np.float32]


def read_golden() -> Golden:
    """Read the golden logits of the demo model.

    Raises:
        DataError: They are missing from the package.
    """
    path = resources.files("gptoss_mlx.data") / GOLDEN
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            return Golden(*(arrays[name] for name in Golden._fields))
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"{path} must hold golden logits but does not: {error}.") from error
