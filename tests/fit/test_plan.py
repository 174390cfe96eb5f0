from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gptoss_mlx.config import RELEASED
from gptoss_mlx.convert.recipes import RECIPES
from gptoss_mlx.device import Machine
from gptoss_mlx.errors import ContextError, NotEnoughMemoryError
from gptoss_mlx.fit.machine import another_mac
from gptoss_mlx.fit.plan import Target, estimated_tokens_per_s, fit_model
from gptoss_mlx.model.footprint import expert_bytes
from gptoss_mlx.model.plan import Plan, Verdict, plan_in_budget, plan_of, plan_to_run

GIB = 1 << 30

# What Metal recommends: macOS 15 and earlier, macOS 26, and after sysctl.
LIMITS: list[tuple[int, float]] = [
    (8, 5.33),
    (16, 10.67),
    (16, 11.84),
    (16, 13.0),
    (24, 16.0),
    (24, 18.7),
    (32, 21.33),
    (32, 24.96),
    (48, 36.0),
    (48, 37.44),
    (64, 48.0),
    (64, 51.84),
    (64, 56.64),
    (96, 72.0),
    (96, 78.0),
    (128, 96.0),
    (128, 107.5),
]


def plan(size: str, recipe: str, gib: int, limit_gib: float, context: int = 4_096) -> Plan:
    """The plan of a released model on a Mac."""
    machine = another_mac(gib * GIB, int(limit_gib * GIB))
    packing = RECIPES[recipe].packing
    return plan_of(RELEASED[size], packing, machine, context_tokens=context)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("size", RELEASED)
@pytest.mark.parametrize(("gib", "limit_gib"), LIMITS)
def test_a_plan_stays_within_its_limit(
    size: str, recipe: str, gib: int, limit_gib: float
) -> None:
    """Whatever it decides: with the settings and experts that it chooses."""
    for context in (4_096, 32_768, 131_072):
        found = plan(size, recipe, gib, limit_gib, context)
        limit = int(limit_gib * GIB)
        if not found.slots:
            assert found.verdict in ("raise", "no")
            continue
        assert found.fits is (found.slots == RELEASED[size].num_local_experts)
        assert found.needed_bytes(context) <= limit
        assert context <= found.longest_context_tokens <= 131_072
        if found.slots < RELEASED[size].num_local_experts - 1:
            slot = RELEASED[size].num_hidden_layers * expert_bytes(RELEASED[size])
            assert found.needed_bytes(context) + slot > limit


def test_the_longest_context_is_counted_to_the_token() -> None:
    """With one more token it would not fit, whole or streamed."""
    for limit_gib in (12.0, 9.0):
        found = plan("20b", "q8", 16, limit_gib)
        longest = found.longest_context_tokens
        assert 4_096 <= longest < 131_072
        assert found.needed_bytes(longest) <= limit_gib * GIB
        assert found.needed_bytes(longest + 1) > limit_gib * GIB


@pytest.mark.parametrize(
    ("size", "recipe", "gib", "limit_gib", "verdict"),
    [
        ("20b", "q8", 8, 5.33, "stream"),
        ("20b", "exact", 16, 10.67, "raise"),
        ("20b", "q8", 16, 10.67, "raise"),
        ("20b", "small", 16, 10.67, "raise"),
        ("20b", "small", 16, 11.84, "fits"),
        ("20b", "q6", 16, 11.84, "fits"),
        ("20b", "q8", 16, 11.84, "raise"),
        ("20b", "exact", 24, 16.0, "fits"),
        ("120b", "q8", 32, 21.33, "stream"),
        ("120b", "q8", 64, 51.84, "raise"),
        ("120b", "q8", 48, 36.0, "stream"),
        ("120b", "q8", 96, 72.0, "fits"),
        ("120b", "exact", 96, 72.0, "fits"),
        ("120b", "q8", 8, 5.33, "stream"),
        ("120b", "q8", 8, 4.0, "no"),
    ],
)
def test_the_verdict(
    size: str, recipe: str, gib: int, limit_gib: float, verdict: Verdict
) -> None:
    """For the Macs that people have, with 4,096 tokens."""
    assert plan(size, recipe, gib, limit_gib).verdict == verdict


def test_the_raised_limit_is_enough_and_no_more() -> None:
    """With it the same plan fits, and with 200 MB less it does not."""
    raised = plan("20b", "q8", 16, 10.67).raised_mb
    assert raised is not None

    machine = another_mac(16 * GIB, raised << 20)
    packing = RECIPES["q8"].packing
    for less, fits in ((0, True), (200, False)):
        limit = another_mac(16 * GIB, (raised - less) << 20)
        found = plan_of(RELEASED["20b"], packing, limit, context_tokens=4_096)
        usual = found.footprint.settings.chunk_tokens == 512
        assert (found.fits and usual) is fits
    assert machine.limit_bytes == raised << 20


def test_a_tight_machine_reads_less_at_once() -> None:
    """20b on 16 GB with macOS 26: 128 tokens, and the machine's own where it is roomy."""
    tight, roomy = plan("20b", "small", 16, 11.84), plan("20b", "small", 24, 16.0)

    assert tight.chunk_tokens(0) < 512
    assert roomy.chunk_tokens(0) == 1_024
    assert roomy.chunk_tokens(0) > roomy.chunk_tokens(100_000)


def test_a_budget_is_a_limit_that_cannot_be_raised() -> None:
    """The machine's own limit is not asked."""
    machine = another_mac(96 * GIB)
    found = plan_of(RELEASED["20b"], RECIPES["q8"].packing, machine, budget_bytes=8 * 10**9)

    assert found.verdict == "stream"
    assert found.raised_mb is None
    assert found.machine.limit_bytes == 8 * 10**9


def test_what_a_cpu_holds_in_float32_is_counted_so() -> None:
    """Bf16 becomes float32 there: 3.6 GB more for ``exact``."""
    cpu = Machine("AMD EPYC", "cpu", "float32", 64 * GIB, 48 * GIB)
    packing = RECIPES["exact"].packing
    found = plan_of(RELEASED["20b"], packing, cpu)
    mac = plan("20b", "exact", 64, 48.0)

    more = found.footprint.weights_bytes - mac.footprint.weights_bytes
    assert more == pytest.approx(3.6e9, rel=0.01)


def test_a_context_that_the_model_does_not_have() -> None:
    """It is refused with the longest."""
    target = Target("gpt-oss-20b", RELEASED["20b"], {"q8": RECIPES["q8"].packing})

    with pytest.raises(ContextError, match="up to 131,072 tokens but has 131,073") as info:
        fit_model(target, another_mac(16 * GIB), [131_073])
    assert info.value.hint == "gptoss-mlx fit --context 131072"


def test_the_estimate_is_of_what_streams() -> None:
    """More experts in memory are faster; what fits needs no estimate."""
    slow, fast = plan("120b", "q8", 32, 21.33), plan("120b", "q8", 64, 51.84)
    rates = [estimated_tokens_per_s(found) for found in (slow, fast)]

    assert rates[0] is not None
    assert rates[1] is not None
    assert 5 < rates[0] < rates[1]
    assert estimated_tokens_per_s(plan("20b", "q8", 32, 21.33)) is None


def run(machine: Machine, recipe: str = "q8", **options: Any) -> Plan:
    """The plan of 20b on a machine where it is to run now."""
    return plan_to_run(
        RELEASED["20b"], RECIPES[recipe].packing, machine, name="gpt-oss-20b", **options
    )


def test_what_is_too_large_is_refused_with_the_numbers() -> None:
    """And with each way out: the table, a budget, and a raised limit."""
    with pytest.raises(NotEnoughMemoryError) as info:
        run(another_mac(16 * GIB, 3 * 10**9))

    assert str(info.value) == (
        "gpt-oss-20b needs 3.5 GB with 2,048 tokens of conversation and most experts on "
        "the disk, and a program may use 3.0 GB here."
    )
    assert info.value.hint == (
        "See what fits: gptoss-mlx fit. To load it anyway: --memory-budget 3.5GB"
    )


def test_what_was_refused_loads_with_the_budget_of_the_hint() -> None:
    """The budget is taken at its word, whatever the machine allows."""
    found = plan_in_budget(
        RELEASED["20b"], RECIPES["q8"].packing, another_mac(16 * GIB), 3_500_000_000
    )

    assert found.slots == 4
    assert found.longest_context_tokens >= 2_048


def test_a_model_that_is_small_is_whole_in_the_least_budget() -> None:
    """Its experts are less than what streaming them takes."""
    config = replace(RELEASED["20b"], num_hidden_layers=2, hidden_size=64, head_dim=16)
    arguments = config, RECIPES["exact"].packing, another_mac(16 * GIB)
    with pytest.raises(NotEnoughMemoryError, match=r"must be at least ([\d.]+)GB") as info:
        plan_in_budget(*arguments, 10**8)
    least = float(str(info.value).split("at least ")[1].split("GB")[0])

    assert plan_in_budget(*arguments, int(least * 1e9)).fits


def test_a_model_that_fits_with_4_096_tokens_is_loaded_whole() -> None:
    """With room for fewer, experts are streamed, and 8,192 tokens fit."""
    whole = run(another_mac(18 * GIB, 12_850_000_000))
    streamed = run(another_mac(18 * GIB, 12_750_000_000))

    assert whole.verdict == "fits"
    assert 4_096 <= whole.longest_context_tokens < 8_192
    assert not streamed.fits
    assert 8_192 <= streamed.longest_context_tokens
    assert 0.85 < streamed.resident_fraction < 1


def test_a_lower_limit_is_raised_with_smaller_settings() -> None:
    """Where the machine's own would leave macOS too little."""
    raised = plan("20b", "exact", 16, 10.67).raised_mb
    assert raised is not None

    found = plan("20b", "exact", 16, raised / 1_024)
    assert found.fits
    assert found.footprint.settings.chunk_tokens < 512


def test_not_even_one_token_s_experts() -> None:
    """It cannot be streamed either."""
    with pytest.raises(NotEnoughMemoryError, match=r"needs 3\.5 GB"):
        run(another_mac(8 * GIB, 3 * 10**9))
    with pytest.raises(NotEnoughMemoryError, match=r"at least 4.1GB but is 3\.0GB"):
        plan_in_budget(
            RELEASED["20b"], RECIPES["q8"].packing, another_mac(96 * GIB), 3 * 10**9
        )


def test_a_large_model_says_how_it_runs() -> None:
    """In a line; one that is small beside the limit says nothing."""
    assert run(another_mac(64 * GIB)).line("20b") is None
    assert run(another_mac(24 * GIB)).line("20b") == (
        "20b: 12.1 of 17.2 GB, 1,024 tokens of a prompt at once, conversations of up to "
        "131,072 tokens."
    )
    line = run(another_mac(8 * GIB)).line("20b")
    assert line is not None
    assert "of 5.7 GB with 10 of 32 experts, 512 tokens of a prompt at once" in line
    line = run(another_mac(16 * GIB)).line("20b")
    assert line is not None
    assert line.endswith("All fit after: sudo sysctl iogpu.wired_limit_mb=13300")


def test_a_slot_for_each_expert_needs_the_embedding_too() -> None:
    """It is loaded then: a token takes no reads."""
    found = plan("20b", "q8", 16, 10.67)
    one_less = replace(found, slots=31).needed_bytes(4_096)
    every = replace(found, slots=32).needed_bytes(4_096)

    slot = 24 * expert_bytes(RELEASED["20b"])
    assert every - one_less == slot + found.footprint.weights.embedding_bytes
