"""Golden logits of tiny checkpoints, made by OpenAI's torch reference in float32.

``tests/parity/make_golden.py`` made the files; they hold every 4th of the first 48
positions and every 50th of the rest.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
import numpy as np
import numpy.typing as npt
from tiny_checkpoint import write_tiny_checkpoint

from gptoss_mlx.model.transformer import Model

__all__ = [
    "CASES",
    "FOLDER",
    "LENGTH",
    "POSITIONS",
    "ROPE_POSITIONS",
    "VOCAB_SIZE",
    "Case",
    "Golden",
    "prefill_logits",
    "tokens_of",
    "write_case",
]

FOLDER = Path(__file__).parent / "data" / "golden"
LENGTH = 1_500
VOCAB_SIZE = 512
POSITIONS = np.array([*range(3, 48, 4), *range(50, LENGTH, 50), LENGTH - 1])

ROPE_POSITIONS = np.unique(
    np.concatenate(
        [np.arange(16), np.geomspace(16, 131_071, 160).astype(np.int64), [131_071]]
    )
)


@dataclass(frozen=True)
class Case:
    """One tiny checkpoint."""

    seed: int
    sliding_window: int

    def __str__(self) -> str:
        return f"seed{self.seed}-window{self.sliding_window}"


# With these seeds no router has two experts that differ by less than 4e-5 where it chooses.
# With seed 0 two differ by 6e-7: another CPU's rounding chooses another expert there, and
# the logits differ by 2.5.
CASES = [Case(seed, window) for seed in (1, 3, 6, 8) for window in (8, 128)]


@dataclass(frozen=True)
class Golden:
    """What the reference says of a case.

    Attributes:
        logits: Shape ``(len(POSITIONS), vocab_size)``, float32.
        sha256: Of the checkpoint's ``original/model.safetensors``.
    """

    logits: npt.NDArray[np.float32]
    sha256: str

    @classmethod
    def load(cls, case: Case) -> Golden:
        """Read a case's file."""
        with np.load(FOLDER / f"{case}.npz") as file:
            return cls(file["logits"], str(file["sha256"]))

    def difference(self, logits: npt.NDArray[np.float32], first: int, last: int) -> float:
        """Return the largest difference at the golden positions from first to last."""
        chosen = (first <= POSITIONS) & (last > POSITIONS)
        ours = logits[POSITIONS[chosen]]
        return float(np.abs(ours - self.logits[chosen]).max())


def write_case(case: Case, folder: Path) -> str:
    """Write the case's checkpoint in both released layouts and return its sha256."""
    write_tiny_checkpoint(
        folder, case.seed, sliding_window=case.sliding_window, vocab_size=VOCAB_SIZE
    )
    content = (folder / "original" / "model.safetensors").read_bytes()
    return hashlib.sha256(content).hexdigest()


def tokens_of(case: Case) -> npt.NDArray[np.int64]:
    """Return the case's tokens. Shape ``(LENGTH,)``."""
    random = np.random.RandomState(case.seed)
    return random.randint(3, VOCAB_SIZE, LENGTH)


def prefill_logits(
    model: Model, tokens: npt.NDArray[np.int64], chunk: int = 128
) -> npt.NDArray[np.float32]:
    """Compute the logits of every position, ``chunk`` tokens at a time.

    On MLX's CPU this is three times as quick as one pass over 1,500 tokens.

    Returns:
        Shape ``(len(tokens), vocab_size)``.
    """
    cache = model.make_cache()
    pieces = []
    for start in range(0, len(tokens), chunk):
        logits = model(mx.array(tokens[None, start : start + chunk]), cache)
        pieces.append(np.array(logits[0].astype(mx.float32)))
    return np.concatenate(pieces)
