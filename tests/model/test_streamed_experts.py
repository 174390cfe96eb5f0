from __future__ import annotations

import math
import os
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt
import pytest
from tiny_checkpoint import write_split_folder, write_tiny_checkpoint

from gptoss_mlx import load_model
from gptoss_mlx.checkpoint.folder import open_checkpoint
from gptoss_mlx.checkpoint.row_reader import RowReader, Rows
from gptoss_mlx.errors import CorruptFileError, GptOssError, StorageError
from gptoss_mlx.model import expert_slots
from gptoss_mlx.model.expert_slots import ExpertSlots, Ints
from gptoss_mlx.model.layerwise import LayerwiseTransformer
from gptoss_mlx.model.residency import slots_of
from gptoss_mlx.model.streamed_experts import StreamedExperts
from gptoss_mlx.model.transformer import Model

if TYPE_CHECKING:
    from _typeshed import TraceFunction

EXPERTS = 12
SHARES = (1.0, 0.6, 0.3, 0.01)  # 12, 7, 4 and 4 experts: a token needs 4


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same checkpoint in the three layouts."""
    folder = tmp_path_factory.mktemp("streamed")
    write_tiny_checkpoint(folder, num_local_experts=EXPERTS)
    write_split_folder(folder, folder / "split", bits=8)
    return {
        "released": folder,
        "original": folder / "original",
        "split": folder / "split",
    }


def tokens(count: int, seed: int = 0) -> mx.array:
    """A text of shape ``(1, count)``."""
    return mx.array(np.random.RandomState(seed).randint(0, 512, (1, count)))


def decoded(model: Model, text: mx.array) -> Iterator[mx.array]:
    """The logits of each token, one token at a time."""
    cache = model.make_cache()
    for position in range(text.shape[1]):
        yield model(text[:, position : position + 1], cache)


def slots_in(model: Model) -> list[ExpertSlots]:
    """The slots of each layer of a streamed model."""
    experts = [layer.mlp.experts for layer in model.layers]
    return [layer.slots for layer in experts if isinstance(layer, StreamedExperts)]


@pytest.mark.parametrize("layout", ["released", "original", "split"])
@pytest.mark.parametrize("share", SHARES)
def test_decoding_with_streamed_experts_has_the_same_bits(
    folders: dict[str, Path], layout: str, share: float
) -> None:
    """The kernels and the bytes are the resident model's; only the rows' numbers differ."""
    plain = load_model(folders[layout], dtype=mx.float32)
    streamed = load_model(folders[layout], dtype=mx.float32, resident=share)

    for ours, theirs in zip(
        decoded(streamed, tokens(40)), decoded(plain, tokens(40)), strict=True
    ):
        assert mx.array_equal(ours, theirs)

    assert streamed.streaming is not None
    stats = streamed.streaming.stats
    assert stats.misses > 0
    assert stats.bytes_read == stats.misses * streamed.streaming.nbytes // sum(
        slots.count for slots in slots_in(streamed)
    )


@pytest.mark.parametrize("share", SHARES)
def test_the_demo_decodes_with_the_same_bits(share: float) -> None:
    """A converted folder, quantized, with an embedding that is read too."""
    plain, streamed = (
        load_model("demo", dtype=mx.float32, resident=resident)
        for resident in (None, share)
    )
    text = mx.array([[200006, 1428, 200008, 13225, 200007, 200006, 173781]])

    for ours, theirs in zip(decoded(streamed, text), decoded(plain, text), strict=True):
        assert mx.array_equal(ours, theirs)


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("count", [1, 5, 40])
def test_a_step_that_needs_more_experts_than_slots_takes_them_in_groups(
    folders: dict[str, Path], share: float, count: int
) -> None:
    """Only the order of a token's sum differs, by groups; with one group, not."""
    plain = load_model(folders["released"], dtype=mx.float32)
    streamed = load_model(folders["released"], dtype=mx.float32, resident=share)

    expected, logits = plain(tokens(count)), streamed(tokens(count))

    assert mx.allclose(logits, expected, rtol=0, atol=1e-4)
    if share == 1 or count == 1:
        assert mx.array_equal(logits, expected)


def test_nothing_is_read_before_it_is_needed(folders: dict[str, Path]) -> None:
    """Loading reads no expert; a first token reads those it goes to, and no others."""
    model = load_model(folders["released"], resident=0.5)
    assert model.streaming is not None
    assert model.streaming.stats.bytes_read == 0

    mx.eval(model(tokens(1)))

    assert model.streaming.stats.misses == 4 * len(model.layers)
    assert model.streaming.stats.hits == 0


def test_layers_that_are_whole_are_not_waited_for(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once all experts are in memory, a step takes the resident layer's path."""
    model = load_model(folders["released"], resident=1)
    mx.eval(model(tokens(300)))
    assert all(slots.is_whole for slots in slots_in(model))

    def fail(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(StreamedExperts, "mix", fail)

    mx.eval(model(tokens(5)))


def test_the_expert_that_was_used_longest_ago_goes_and_none_of_the_step(
    folders: dict[str, Path],
) -> None:
    """Five slots: after 1 2 3 4 and 5 2 1 4, expert 6 takes the place of 3, 7 that of 5."""
    model = load_model(folders["released"], resident=5 / EXPERTS)
    slots = slots_in(model)[0]
    clock = iter(range(1, 1000))

    def hold(*experts: int) -> None:
        slots.hold(np.array(experts), np.array([next(clock) for _ in experts]))

    def held() -> list[int]:
        return np.flatnonzero(slots.has(np.arange(EXPERTS))).tolist()

    hold(1, 2, 3, 4)
    hold(5, 2, 1, 4)
    assert held() == [1, 2, 3, 4, 5]
    hold(6)
    assert held() == [1, 2, 4, 5, 6]
    hold(2, 7, 1, 4)
    assert held() == [1, 2, 4, 6, 7]


def test_a_result_that_waits_keeps_its_experts(folders: dict[str, Path]) -> None:
    """The last layer of a step is still queued when the next step needs its slots."""
    plain = load_model(folders["released"], dtype=mx.float32)
    streamed = load_model(folders["released"], dtype=mx.float32, resident=0.01)

    waiting = [streamed(tokens(1, seed)) for seed in range(20)]

    for seed, logits in enumerate(waiting):
        assert mx.array_equal(logits, plain(tokens(1, seed)))


def test_results_that_wait_keep_their_experts_after_a_step_that_read_none(
    folders: dict[str, Path],
) -> None:
    """Each token twice: the second step finds its experts, and the third takes them."""
    plain = load_model(folders["released"], dtype=mx.float32)
    streamed = load_model(folders["released"], dtype=mx.float32, resident=0.01)
    seeds = [seed for seed in range(20) for _ in range(2)]

    waiting = [streamed(tokens(1, seed)) for seed in seeds]

    for seed, logits in zip(seeds, waiting, strict=True):
        assert mx.array_equal(logits, plain(tokens(1, seed)))


def test_another_thread_goes_on_after_a_result_that_nobody_has_asked_for(
    folders: dict[str, Path],
) -> None:
    """A lazy array belongs to the thread that made it, so none stays in a layer."""
    plain = load_model(folders["released"], dtype=mx.float32)
    streamed = load_model(folders["released"], dtype=mx.float32, resident=0.01)
    waiting = streamed(tokens(1, 0))
    found: list[npt.NDArray[np.float32]] = []

    def compute() -> None:
        for seed in (1, 2):
            found.append(np.array(streamed(tokens(1, seed))))

    thread = threading.Thread(target=compute)
    thread.start()
    thread.join()

    assert mx.array_equal(waiting, plain(tokens(1, 0)))
    for seed, logits in zip((1, 2), found, strict=True):
        assert mx.array_equal(mx.array(logits), plain(tokens(1, seed)))


@pytest.mark.parametrize("per_token", [1, 2, 3])
def test_the_fewest_slots_are_as_many_as_a_token_needs(
    tmp_path: Path, per_token: int
) -> None:
    """With one slot a group is computed before the next one is read."""
    write_tiny_checkpoint(tmp_path, num_experts_per_tok=per_token)
    plain = load_model(tmp_path, dtype=mx.float32)
    streamed = load_model(tmp_path, dtype=mx.float32, resident=0.01)
    assert slots_in(streamed)[0].count == per_token

    assert mx.allclose(streamed(tokens(60)), plain(tokens(60)), rtol=0, atol=1e-4)
    for ours, theirs in zip(
        decoded(streamed, tokens(20)), decoded(plain, tokens(20)), strict=True
    ):
        assert mx.array_equal(ours, theirs)


@pytest.mark.parametrize("how", ["cut", "replaced"])
def test_a_file_that_changes_between_steps_is_an_error(tmp_path: Path, how: str) -> None:
    """Never a token from wrong weights; and the error names the file."""
    write_tiny_checkpoint(tmp_path)
    model = load_model(tmp_path, resident=0.5)
    mx.eval(model(tokens(1)))
    path = tmp_path / "model.safetensors"
    if how == "cut":
        os.truncate(path, path.stat().st_size // 2)
    else:
        other = tmp_path / "other"
        other.write_bytes(path.read_bytes())
        other.replace(path)

    with pytest.raises(CorruptFileError, match=r"model\.safetensors"):
        mx.eval([model(tokens(1, seed)) for seed in range(20)])


def test_after_a_read_that_failed_nothing_of_it_is_used(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slots that were being filled are empty; the same step then has its bits."""
    plain = load_model(folders["released"], dtype=mx.float32)
    streamed = load_model(folders["released"], dtype=mx.float32, resident=0.4)
    mx.eval(streamed(tokens(1)))
    preadv, calls = os.preadv, 0

    def failing(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        nonlocal calls
        calls += 1
        if calls == 3:
            buffers[0][:] = bytes(len(buffers[0]))
            raise OSError(5, "Input/output error")
        return preadv(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", failing)
    with pytest.raises(StorageError, match="Input/output error"):
        mx.eval([streamed(tokens(1, seed)) for seed in range(1, 9)])
    assert calls >= 3

    for seed in range(9):
        assert mx.array_equal(streamed(tokens(1, seed)), plain(tokens(1, seed)))


class StopError(BaseException):
    """What a signal handler raises."""


def test_an_exception_at_any_line_leaves_true_records(folders: dict[str, Path]) -> None:
    """An expert is in memory, as far as the slots know, only if its bytes are."""
    plain = load_model(folders["released"], dtype=mx.float32)
    watched = [ExpertSlots.hold, ExpertSlots._fill, ExpertSlots._allocate]
    codes = {function.__code__ for function in watched}
    left = 0

    def trace(frame: FrameType, event: str, argument: object) -> TraceFunction | None:
        nonlocal left
        if frame.f_code not in codes:
            return None
        if event == "line":
            left -= 1
            if left == 0:
                raise StopError
        return trace

    stopped = 0
    for line in range(1, 60):
        streamed = load_model(folders["released"], dtype=mx.float32, resident=0.4)
        left = line
        before = sys.gettrace()
        sys.settrace(trace)
        try:
            streamed(tokens(1, line))
        except StopError:
            stopped += 1
        finally:
            sys.settrace(before)
        for seed in (line, line + 1):
            assert mx.array_equal(streamed(tokens(1, seed)), plain(tokens(1, seed)))
    assert stopped > 40


def test_gate_and_up_that_lie_apart_take_little_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are read a few experts at a time, whatever the number of those missing."""
    write_tiny_checkpoint(
        tmp_path, hidden_size=256, intermediate_size=256, num_hidden_layers=2
    )
    write_split_folder(tmp_path, tmp_path / "split")
    plain = load_model(tmp_path / "split", dtype=mx.float32)
    model = load_model(tmp_path / "split", dtype=mx.float32, resident=1)
    mx.eval(model(tokens(1)), plain(tokens(300)))
    slots = slots_in(model)
    expert_bytes = slots[0].nbytes // slots[0].count
    monkeypatch.setattr(expert_slots, "SCRATCH_BYTES", expert_bytes)
    allocated: list[int] = []
    read = RowReader.read

    def watched(reader: RowReader, wanted: Sequence[Rows]) -> None:
        allocated.append(tracemalloc.get_traced_memory()[0])
        read(reader, wanted)

    monkeypatch.setattr(RowReader, "read", watched)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        logits = model(tokens(300))
    finally:
        tracemalloc.stop()

    assert max(allocated) - before < 2 * expert_bytes
    assert mx.array_equal(logits, plain(tokens(300)))
    assert all(layer.is_whole for layer in slots)


@pytest.mark.parametrize(
    ("resident", "slots"), [(1, 12), (0.6, 7), (0.75, 9), (0.5, 6), (0.01, 4)]
)
def test_a_share_of_the_experts_is_a_number_of_slots(
    folders: dict[str, Path], resident: float, slots: int
) -> None:
    """Rounded down, but a token's experts always fit."""
    assert slots_of(open_checkpoint(folders["released"]).config, resident) == slots


@pytest.mark.parametrize("resident", [0, -0.1, 1.01, 60, math.nan, True, "60%"])
def test_a_share_out_of_its_range_is_refused(
    folders: dict[str, Path], resident: Any
) -> None:
    """60 instead of 0.6 is noticed, and what is no number."""
    with pytest.raises(ValueError, match="resident must be over 0 and up to 1 but is"):
        load_model(folders["released"], resident=resident)


@pytest.mark.parametrize("budget", [0, -1, 10**16, 8e9, math.nan, math.inf, True, b"8GB"])
def test_a_budget_that_is_no_number_of_bytes_is_refused(
    folders: dict[str, Path], budget: Any
) -> None:
    """Bytes are whole; text has a unit."""
    with pytest.raises(ValueError, match="memory_budget must be a whole number of bytes"):
        load_model(folders["released"], memory_budget=budget)


def streamed(folder: Path, share: float) -> tuple[Model, LayerwiseTransformer]:
    """A streamed model, and its transformer."""
    model = load_model(folder, dtype=mx.float32, resident=share)
    assert isinstance(model.model, LayerwiseTransformer)
    return model, model.model


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("count", [1, 5, 40, 90])
def test_a_prompt_passes_layer_by_layer(
    folders: dict[str, Path], share: float, count: int
) -> None:
    """With what a resident model has after the same chunks: state, cache, next logits."""
    plain = load_model(folders["released"], dtype=mx.float32)
    model, transformer = streamed(folders["released"], share)
    text, cache, other = tokens(count), plain.make_cache(), model.make_cache()
    # A first token, so that the prompt does not begin at the start of the cache.
    mx.eval(plain(tokens(1), cache), model(tokens(1), other))
    chunks = [text[:, i : i + 32] for i in range(0, count, 32)]

    for chunk in chunks:
        expected = plain.model(chunk, cache, last_only=True)
    hidden = transformer.prefill(chunks, other)

    assert mx.allclose(hidden, expected, rtol=0, atol=1e-4)
    for _ in range(3):
        ours, theirs = model(tokens(1), other), plain(tokens(1), cache)
        assert mx.allclose(ours, theirs, rtol=0, atol=1e-4)
        if share == 1:
            assert mx.array_equal(ours, theirs)
    assert [layer.offset for layer in other] == [layer.offset for layer in cache]


def test_a_prompt_reads_each_missing_expert_once(folders: dict[str, Path]) -> None:
    """However many chunks it has; and those that are in memory are not read again."""
    model, transformer = streamed(folders["released"], 0.5)
    assert model.streaming is not None
    stats = model.streaming.stats
    text = tokens(320)

    transformer.prefill(
        [text[:, i : i + 32] for i in range(0, 320, 32)], model.make_cache()
    )

    # The last layer computes only the last token's output.
    assert stats.misses == EXPERTS * (len(model.layers) - 1) + 4

    before = stats.copy()
    transformer.prefill([text[:, :160], text[:, 160:]], model.make_cache())

    again = stats.since(before)
    assert again.misses == EXPERTS // 2 * (len(model.layers) - 1)
    assert again.hits == EXPERTS // 2 * (len(model.layers) - 1) + 4


def test_progress_is_told_after_each_layer(folders: dict[str, Path]) -> None:
    """In tokens, up to all of them."""
    model, transformer = streamed(folders["released"], 0.5)
    told: list[tuple[int, int]] = []

    transformer.prefill(
        [tokens(30), tokens(10)],
        model.make_cache(),
        lambda done, total: told.append((done, total)),
    )

    assert told == [(10, 40), (20, 40), (30, 40), (40, 40)]


def test_the_errors_have_a_hint(tmp_path: Path) -> None:
    """Each error of streaming says what to do next."""
    write_tiny_checkpoint(tmp_path)
    model = load_model(tmp_path, resident=0.5)
    (tmp_path / "model.safetensors").unlink()

    with pytest.raises(GptOssError) as raised:
        mx.eval(model(tokens(1)))

    assert raised.value.hint


def test_a_group_is_read_while_the_one_before_is_computed(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Into slots that are not being read: slow reads, or slow sums, change nothing."""
    plain = load_model(folders["released"], dtype=mx.float32)
    expected = plain(tokens(200))
    preadv, busy = os.preadv, 0
    hold = ExpertSlots.hold

    def slow(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        for buffer in buffers:
            buffer[:] = b"\xff" * len(buffer)  # what a sum would see, were it not done
        time.sleep(0.001)
        return preadv(descriptor, buffers, offset)

    def watched(
        slots: ExpertSlots,
        experts: Ints,
        used_at: Ints,
        keep: Ints = np.empty(0, np.int64),  # noqa: B008 - nobody writes to it
    ) -> None:
        nonlocal busy
        busy += bool(len(keep))
        hold(slots, experts, used_at, keep)
        assert slots.has(keep).all()

    monkeypatch.setattr(os, "preadv", slow)
    monkeypatch.setattr(ExpertSlots, "hold", watched)
    for share in (0.01, 0.5):
        model = load_model(folders["released"], dtype=mx.float32, resident=share)
        for _ in range(3):
            logits = model(tokens(200))
            assert mx.allclose(logits, expected, rtol=0, atol=1e-4)
    assert busy > 0
