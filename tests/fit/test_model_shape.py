from __future__ import annotations

import pytest

from gptoss_mlx.config import RELEASED, Quantization
from gptoss_mlx.convert.recipes import recipe_named
from gptoss_mlx.fit.model_shape import shape_of
from gptoss_mlx.model.footprint import QuantizationOf, weights_bytes


def four_bits(module: str, columns: int) -> Quantization:
    """Everything but the experts in 4 bits."""
    return Quantization(64, 4, "affine")


# Active weight bytes per decoded token, computed by hand from the released shapes.
ACTIVE = [
    ("20b", recipe_named("exact").packing, 3.71e9),
    ("20b", recipe_named("q8").packing, 2.57e9),
    ("20b", recipe_named("q6").packing, 2.26e9),
    ("20b", four_bits, 1.96e9),
    ("120b", recipe_named("exact").packing, 5.00e9),
    ("120b", recipe_named("q8").packing, 3.55e9),
    ("120b", recipe_named("q6").packing, 3.17e9),
    ("120b", four_bits, 2.78e9),
]


@pytest.mark.parametrize(("size", "packing", "active"), ACTIVE)
def test_a_token_reads_the_bytes_that_the_shapes_say(
    size: str, packing: QuantizationOf, active: float
) -> None:
    """Within 1 %: the table counts routers in 8 bits, which are bf16 here."""
    shape = shape_of(RELEASED[size], packing)

    assert shape.token_bytes + shape.chosen_bytes == pytest.approx(active, rel=0.01)


@pytest.mark.parametrize("size", RELEASED)
def test_the_bytes_are_those_of_the_weights(size: str) -> None:
    """An expert is 13,219,200 bytes, and all of it with the rest is the whole model."""
    packing = recipe_named("small").packing
    shape = shape_of(RELEASED[size], packing)

    assert shape.expert_bytes == 13_219_200
    whole = shape.resident_bytes + shape.experts_bytes
    assert whole == weights_bytes(RELEASED[size], packing)


def test_a_longer_context_is_read_too() -> None:
    """24,576 bytes per token of 20b in full layers, and 128 tokens in sliding ones."""
    config, packing = RELEASED["20b"], recipe_named("q8").packing

    def cached(tokens: int) -> int:
        longer = shape_of(config, packing, context_tokens=tokens)
        return longer.token_bytes - shape_of(config, packing).token_bytes

    assert cached(100) == 2 * 24_576 * 100
    assert cached(10_000) == 24_576 * 10_000 + 24_576 * 128
