from __future__ import annotations

import pytest

from gptoss_mlx.config import RELEASED
from gptoss_mlx.device import Machine
from gptoss_mlx.model import memory
from gptoss_mlx.model.memory import Settings, settings_for
from gptoss_mlx.model_choice import plan_for

GIB = 1 << 30

# Memory, and what Metal recommends: two thirds up to 32 GB, three quarters above.
SIZES = {8: 5.33, 16: 10.67, 24: 16, 32: 21.33, 36: 27, 48: 36, 64: 48, 96: 72}
SIZES |= {128: 96, 192: 144, 256: 192, 512: 384}


def mac(gib: int, macos: tuple[int, ...] = (15, 6), device: str = "Apple M4") -> Machine:
    """A Mac with so much memory."""
    limit = int(SIZES[gib] * GIB)
    return Machine(device, "gpu", "bfloat16", gib * GIB, limit, "applegpu_g16g", macos)


def settings(machine: Machine) -> list[Settings]:
    """All settings of a machine, the largest first."""
    return list(settings_for(machine))


CPU = Machine("AMD EPYC", "cpu", "float32", 24 * GIB, 18 * GIB)


@pytest.mark.parametrize(
    ("gib", "offset", "chunk"),
    [
        (8, 0, 512),
        (16, 0, 512),
        (24, 0, 1_024),
        (24, 31_744, 1_024),
        (24, 31_745, 512),
        (32, 0, 2_048),
        (512, 14_336, 2_048),
        (512, 14_337, 1_024),
        (512, 65_024, 512),
        (512, 65_025, 256),
        (512, 131_071, 256),
    ],
)
def test_a_chunk_grows_with_memory_and_shrinks_with_the_context(
    gib: int, offset: int, chunk: int
) -> None:
    """Up to 2^25 pairs of query and key go through one kernel."""
    assert memory.chunk_tokens(mac(gib), offset) == chunk


@pytest.mark.parametrize(
    ("offset", "chunk"), [(0, 512), (3_584, 512), (3_585, 256), (32_000, 64), (131_071, 16)]
)
def test_a_cpu_s_chunk_shrinks_with_the_scores(offset: int, chunk: int) -> None:
    """A CPU keeps all scores of a chunk: up to 2^21, three times, for each head."""
    assert memory.chunk_tokens(CPU, offset) == chunk


def test_a_bound_of_one_s_own_holds() -> None:
    """A chunk is no longer than it, and no longer than the machine allows."""
    assert memory.chunk_tokens(mac(64), 0, most=128) == 128
    assert memory.chunk_tokens(mac(64), 131_071, most=512) == 256
    assert memory.chunk_tokens(CPU, 0, most=2_048) == 512


def test_settings_shrink_from_the_machine_s_own_to_the_least() -> None:
    """Chunk and freed memory are halved together, to 128 tokens and 128 MiB."""
    steps = [(one.chunk_tokens, one.cache_limit_bytes >> 20) for one in settings(mac(64))]

    assert steps == [(2_048, 1_024), (1_024, 512), (512, 256), (256, 128), (128, 128)]
    assert [
        (one.chunk_tokens, one.cache_limit_bytes >> 20) for one in settings(mac(8))
    ] == [
        (512, 256),
        (256, 128),
        (128, 128),
    ]


def test_what_a_cpu_keeps_is_not_counted_twice() -> None:
    """Its layers reuse it; a GPU has several chunks in flight."""
    config = RELEASED["20b"]

    assert memory.working_bytes(config, CPU) == (
        200_000_000 + memory.transient_bytes(config, CPU)
    )
    assert memory.kept_bytes(mac(64)) == 1 << 30


def test_a_cpu_s_transients_hold_the_scores() -> None:
    """20b: 1.6 GB once the context is long; a GPU has none."""
    config = RELEASED["20b"]
    short, long, longer = (
        memory.transient_bytes(config, CPU, context_tokens=tokens)
        for tokens in (0, 4_096, 131_072)
    )

    assert short < long == longer
    assert long > 3 * 64 * 2**21 * 4
    assert memory.transient_bytes(config, mac(64), context_tokens=131_072) == (
        memory.transient_bytes(config, mac(64))
    )


@pytest.mark.parametrize(("gib", "mib"), [(8, 256), (16, 512), (32, 1_024), (512, 1_024)])
def test_freed_memory_is_bounded(gib: int, mib: int) -> None:
    """The bound is a 32nd of the machine's memory, from 256 MiB to 1 GiB."""
    assert memory.cache_limit_bytes(mac(gib)) == mib << 20


def test_working_bytes_hold_the_cache_limit_and_grow_with_the_chunk() -> None:
    """They are what a plan adds to weights and keys."""
    config = RELEASED["20b"]
    working = [memory.working_bytes(config, mac(gib)) for gib in (16, 24, 32)]

    assert working == sorted(working)
    assert all(
        nbytes > memory.cache_limit_bytes(mac(gib))
        for nbytes, gib in zip(working, (16, 24, 32), strict=True)
    )
    assert 1.5e9 <= working[0] <= 1.7e9
    assert 4.0e9 <= working[2] <= 5.0e9


@pytest.mark.parametrize(
    ("machine", "can"),
    [
        (mac(96), True),
        (mac(96, macos=(15,)), True),
        (mac(96, macos=(26, 2)), True),
        (mac(96, macos=(14, 7, 1)), False),
        (mac(96, macos=()), False),
        (mac(96, device="Apple Paravirtual device"), False),
        (CPU, False),
    ],
)
def test_who_can_wire(machine: Machine, can: bool) -> None:
    """MacOS 15 and newer, on a real GPU."""
    assert memory.can_wire(machine) is can
    wired = memory.wired_limit_bytes(machine, weights_bytes=63 * 10**9, other_bytes=10**9)
    assert wired == (64 * 10**9 if can else 0)


def test_a_model_of_half_the_limit_is_not_wired() -> None:
    """With one more byte it is wired."""
    machine = mac(96)
    half = machine.limit_bytes // 2

    assert memory.wired_limit_bytes(machine, weights_bytes=half, other_bytes=9) == 0
    assert (
        memory.wired_limit_bytes(machine, weights_bytes=half + 1, other_bytes=9)
        == half + 10
    )


def test_no_more_is_wired_than_metal_recommends() -> None:
    """MLX refuses a higher limit."""
    machine = mac(16)

    wired = memory.wired_limit_bytes(
        machine, weights_bytes=machine.limit_bytes, other_bytes=GIB
    )
    assert wired == machine.limit_bytes


def test_a_limit_is_raised_where_enough_is_left() -> None:
    """Rounded up to hundreds of MiB, with 2 GiB left to macOS."""
    machine = mac(16)

    assert memory.raised_limit_mb(machine, 13_300 << 20) == 13_300
    assert memory.raised_limit_mb(machine, (13_300 << 20) + 1) == 13_400
    assert memory.raised_limit_mb(machine, 14_300 << 20) == 14_300
    assert memory.raised_limit_mb(machine, (14_300 << 20) + 1) is None
    assert memory.raised_limit_mb(machine, machine.limit_bytes) is None
    assert memory.raised_limit_mb(CPU, 20 * GIB) is None


@pytest.mark.parametrize("recipe", ["exact", "q8"])
@pytest.mark.parametrize("gib", SIZES)
def test_what_each_mac_runs(gib: int, recipe: str) -> None:
    """20b from 24 GB on, on 16 GB by a raised limit; 120b from 96 GB on."""
    machine = mac(gib)
    small, large = (plan_for(size, recipe, machine) for size in ("20b", "120b"))

    assert small.fits is (gib >= 24)
    assert large.fits is (gib >= 96)
    assert (small.raised_mb is not None) is (gib == 16)
