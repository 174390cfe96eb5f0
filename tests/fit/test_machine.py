from __future__ import annotations

import pytest

from gptoss_mlx.fit.machine import another_mac, assumed_share

GIB = 1 << 30


@pytest.mark.parametrize(
    ("gib", "share", "limit_gib"),
    [
        (8, "2/3", 5.33),
        (16, "2/3", 10.67),
        (32, "2/3", 21.33),
        (36, "3/4", 27),
        (96, "3/4", 72),
    ],
)
def test_the_limit_of_a_mac_that_is_not_here(
    gib: int, share: str, limit_gib: float
) -> None:
    """Two thirds below 36 GB, three quarters from there on, unless it is told."""
    machine = another_mac(gib * GIB)

    assert str(assumed_share(gib * GIB)) == share
    assert machine.limit_bytes / GIB == pytest.approx(limit_gib, abs=0.01)
    assert another_mac(gib * GIB, 7 * GIB).limit_bytes == 7 * GIB
