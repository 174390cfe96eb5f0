"""The tables of sizes that were worked out by hand before this code."""

from __future__ import annotations

import pytest

from gptoss_mlx.config import RELEASED
from gptoss_mlx.convert.recipes import AS_RELEASED, Format, Recipe
from gptoss_mlx.model.footprint import (
    Weights,
    held_bytes,
    token_weights_bytes,
    weights_of,
)
from gptoss_mlx.model.plan import resident_fraction

GIB = 1 << 30
CONTEXTS = (4 << 10, 16 << 10, 32 << 10, 128 << 10)

# What was given for computing in each model: buffers of a chunk, and MLX's own.
TRANSIENT_BYTES = {"20b": 59_000_000, "120b": 240_000_000}
MLX_BYTES = {"20b": 200_000_000, "120b": 290_000_000}


def recipe(
    attention: int | None, lm_head: int | None, embedding: int | None, group: int = 64
) -> Recipe:
    """A recipe of these bits; None keeps bf16."""
    widths = {
        "*.self_attn.*_proj": attention,
        "lm_head": lm_head,
        "*.embed_tokens": embedding,
    }
    formats = {
        path: Format(bits, group) if bits else AS_RELEASED for path, bits in widths.items()
    }
    return Recipe("tried", "", formats)


def weights(size: str, tried: Recipe) -> Weights:
    """The bytes of a released model by a recipe."""
    return weights_of(RELEASED[size], tried.packing)


BF16, Q8, Q6, Q4 = (recipe(bits, bits, bits) for bits in (None, 8, 6, 4))
Q8_32, Q6_32, Q4_32 = (recipe(bits, bits, bits, 32) for bits in (8, 6, 4))
SMALL, HEAD_6 = recipe(8, 6, 4), recipe(8, 6, 8)


@pytest.mark.parametrize(
    ("tried", "off_gpu", "sizes"),
    [
        (BF16, False, (13.76, 3.71, 65.25, 5.00)),
        (Q8_32, False, (12.19, 2.64, 63.39, 3.65)),
        (Q8, False, (12.08, 2.57, 63.25, 3.55)),
        (Q6_32, False, (11.74, 2.34, 62.86, 3.26)),
        (Q6, False, (11.63, 2.26, 62.73, 3.17)),
        (Q4_32, False, (11.29, 2.03, 62.33, 2.88)),
        (Q4, False, (11.18, 1.96, 62.20, 2.78)),
        (SMALL, False, (11.64, 2.42, 62.82, 3.41)),
        (Q8, True, (11.46, 2.57, 62.64, 3.55)),
        (HEAD_6, True, (11.32, 2.42, 62.49, 3.41)),
    ],
)
def test_model_bytes(tried: Recipe, off_gpu: bool, sizes: tuple[float, ...]) -> None:
    """All weights, and those that a token reads, within 1 %."""
    found = []
    for size in ("20b", "120b"):
        held = weights(size, tried)
        without = held.embedding_bytes if off_gpu else 0
        found += [
            (held.total_bytes - without) / 1e9,
            token_weights_bytes(RELEASED[size], held) / 1e9,
        ]

    assert found == pytest.approx(sizes, rel=0.01)


@pytest.mark.parametrize(
    ("size", "gigabytes"),
    [("20b", "0.10 0.41 0.81 3.22"), ("120b", "0.16 0.61 1.21 4.84")],
)
def test_keys_and_values(size: str, gigabytes: str) -> None:
    """In bf16, to the last digit."""
    held = [held_bytes(RELEASED[size], context) / 1e9 for context in CONTEXTS]

    assert " ".join(f"{value:.2f}" for value in held) == gigabytes


@pytest.mark.parametrize(
    ("tried", "off_gpu", "small", "large"),
    [
        (BF16, False, "13.15 13.44 13.81 16.06", "61.4 61.8 62.4 65.8"),
        (Q8, False, "11.59 11.87 12.24 14.49", "59.6 60.0 60.5 63.9"),
        (Q6, False, "11.17 11.45 11.82 14.07", "59.1 59.5 60.1 63.4"),
        (SMALL, False, "11.18 11.46 11.84 14.09", "59.2 59.6 60.1 63.5"),
        (Q8, True, "11.01 11.29 11.67 13.92", "59.0 59.4 60.0 63.3"),
        (HEAD_6, True, "10.88 11.16 11.53 13.78", "58.9 59.3 59.8 63.2"),
        (Q4, False, "10.75 11.03 11.41 13.66", "58.6 59.0 59.6 62.9"),
    ],
)
def test_everything_together(tried: Recipe, off_gpu: bool, small: str, large: str) -> None:
    """In GiB, to the last digit, with what was given for computing."""
    for size, expected, digits in (("20b", small, 2), ("120b", large, 1)):
        held = weights(size, tried)
        beside = TRANSIENT_BYTES[size] + MLX_BYTES[size]
        beside -= held.embedding_bytes if off_gpu else 0
        totals = [
            (held.total_bytes + held_bytes(RELEASED[size], context) + beside) / GIB
            for context in CONTEXTS
        ]
        assert " ".join(f"{total:.{digits}f}" for total in totals) == expected


@pytest.mark.parametrize(
    ("size", "limit_gib", "tried", "contexts", "expected"),
    [
        ("20b", 10.67, Q8, CONTEXTS[:3], "0.90 0.87 0.83"),
        ("20b", 11.84, SMALL, CONTEXTS[:3], "1.00 1.00 1.00"),
        ("120b", 21.33, Q8, CONTEXTS[:1] + CONTEXTS[2:], "0.33 0.31 0.25"),
        ("120b", 24.96, Q8, CONTEXTS[:1] + CONTEXTS[2:], "0.39 0.37 0.31"),
        ("120b", 37.44, Q8, CONTEXTS[:1] + CONTEXTS[2:], "0.61 0.59 0.53"),
        ("120b", 48.0, Q8, CONTEXTS[:1] + CONTEXTS[2:], "0.80 0.78 0.72"),
        ("120b", 51.84, Q8, CONTEXTS[:1] + CONTEXTS[2:], "0.86 0.85 0.79"),
        ("120b", 56.64, Q8, CONTEXTS[:1] + CONTEXTS[2:], "0.95 0.93 0.87"),
    ],
)
def test_the_share_of_experts_that_stays(
    size: str, limit_gib: float, tried: Recipe, contexts: tuple[int, ...], expected: str
) -> None:
    """With each limit that was listed, within a hundredth."""
    held = weights(size, tried)
    beside = TRANSIENT_BYTES[size] + MLX_BYTES[size]
    shares = [
        resident_fraction(
            total_bytes=held.total_bytes + held_bytes(RELEASED[size], context) + beside,
            experts_bytes=held.experts_bytes,
            limit_bytes=int(limit_gib * GIB),
        )
        for context in contexts
    ]

    assert shares == pytest.approx([float(text) for text in expected.split()], abs=0.0101)
