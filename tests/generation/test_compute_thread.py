from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Self

import pytest

from gptoss_mlx.device_errors import device_errors
from gptoss_mlx.errors import AnswerError, DeviceError
from gptoss_mlx.generation import compute_thread
from gptoss_mlx.generation.compute_thread import ThreadedGeneration
from gptoss_mlx.generation.jobs import Lane
from gptoss_mlx.generation.request import GeneratedToken, Generation, Request
from gptoss_mlx.generation.stops import Stops


class Counting:
    """Says 0, 1, 2, …; notes in which thread."""

    def __init__(self, request: Request, gate: threading.Event | None = None) -> None:
        self.cached_tokens = 7
        self.threads: set[int] = set()
        self.closed_in = 0
        self._request = request
        self._gate = gate
        self._tokens = iter(range(request.stops.max_tokens or 1_000_000))

    def __iter__(self) -> Self:
        """It is an iterator."""
        return self

    def __next__(self) -> GeneratedToken:
        """Say the next number."""
        self.threads.add(threading.get_ident())
        if self._gate is not None:
            for done in range(1, 1_000):
                if self._gate.wait(0.01):
                    break
                if self._request.progress is not None:
                    self._request.progress(done, 1_000)
        return GeneratedToken(next(self._tokens))

    def close(self) -> None:
        """Note where."""
        self.closed_in = threading.get_ident()


def begin(
    lane: Lane, *, gate: threading.Event | None = None, **options: Any
) -> tuple[ThreadedGeneration, Counting]:
    """Begin to count, once the gate is open."""
    made: list[Counting] = []

    def make(request: Request) -> Generation:
        made.append(Counting(request, gate))
        return made[0]

    return ThreadedGeneration(lane, Request([1], **options), make), made[0]


def in_thread(function: Callable[[], object]) -> threading.Thread:
    """Run a function in a thread of its own."""
    thread = threading.Thread(target=function)
    thread.start()
    return thread


def test_all_is_computed_in_one_thread_that_is_not_the_asker_s() -> None:
    """Also where several threads ask for the tokens of one answer."""
    generation, counting = begin(Lane())
    said: SimpleQueue[int] = SimpleQueue()
    for _ in range(3):
        in_thread(lambda: said.put(next(generation).token)).join()

    assert [said.get() for _ in range(3)] == [0, 1, 2]
    assert len(counting.threads) == 1
    assert threading.get_ident() not in counting.threads
    assert generation.cached_tokens == 7


def test_a_second_answer_waits_for_the_first() -> None:
    """Tokens of two answers do not alternate while the first one is asked for."""
    lane = Lane()
    order: list[str] = []
    first, _ = begin(lane, stops=Stops(max_tokens=5))
    next(first)

    def ask_second() -> None:
        second, _ = begin(lane, stops=Stops(max_tokens=3))
        order.extend("second" for _ in second)

    thread = in_thread(ask_second)
    for _ in range(4):
        time.sleep(0.05)
        next(first)
        order.append("first")
    with pytest.raises(StopIteration):
        next(first)
    thread.join()

    assert order == [*["first"] * 4, *["second"] * 3]


def test_an_answer_that_nobody_asks_for_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """After IDLE_S another thread is served; the first goes on later."""
    monkeypatch.setattr(compute_thread, "IDLE_S", 0.2)
    lane = Lane()
    first, _ = begin(lane)
    next(first)
    served: list[float] = []

    def ask_second() -> None:
        second, _ = begin(lane)
        next(second)
        served.append(time.monotonic())
        second.close()

    began = time.monotonic()
    in_thread(ask_second).join()

    assert 0.15 < served[0] - began < 1
    assert next(first).token == 1


def test_an_answer_gives_way_at_once_to_one_of_its_own_thread() -> None:
    """Or the thread would wait for itself."""
    lane = Lane()
    first, _ = begin(lane)
    next(first)
    began = time.monotonic()
    second, _ = begin(lane)

    assert next(second).token == 0
    assert time.monotonic() - began < compute_thread.IDLE_S / 2
    assert next(first).token == 1
    assert next(second).token == 1


@pytest.mark.parametrize("how", ["closed", "collected"])
def test_an_answer_can_be_left_in_another_thread(how: str) -> None:
    """The compute thread closes it, and others are served at once."""
    lane = Lane()
    held = [begin(lane)]
    counting = held[0][1]
    in_thread(lambda: next(held[0][0])).join()

    def leave() -> None:
        if how == "closed":
            held[0][0].close()
        held.clear()
        gc.collect()

    in_thread(leave).join()
    began = time.monotonic()
    other, _ = begin(lane)
    next(other)

    assert time.monotonic() - began < compute_thread.IDLE_S / 2
    assert counting.closed_in in counting.threads


def test_an_answer_that_was_closed_gives_no_more_tokens() -> None:
    """Whoever asks is told that it is at its end."""
    generation, _ = begin(Lane())
    next(generation)
    generation.close()
    generation.close()

    assert list(generation) == []


def test_a_waiting_thread_is_told_that_another_has_closed_its_answer() -> None:
    """It must not take what it has for the whole answer."""
    gate = threading.Event()
    generation, _ = begin(Lane(), gate=gate)
    threading.Timer(0.1, generation.close).start()

    with pytest.raises(AnswerError, match="closed by another thread"):
        next(generation)


def test_a_processor_that_asks_a_model_is_refused() -> None:
    """It runs in the compute thread, and would wait for itself."""
    lane = Lane()
    other, _ = begin(lane)

    class Asking(Counting):
        def __next__(self) -> GeneratedToken:
            return next(other)

    with pytest.raises(RuntimeError, match="must not ask a model"):
        next(ThreadedGeneration(lane, Request([1]), Asking))


def test_a_prefill_is_left_at_the_next_chunk() -> None:
    """The asker is interrupted at once, and the model serves others soon."""
    lane = Lane()
    pressed = threading.Event()

    def watch() -> None:
        if pressed.is_set():
            raise KeyboardInterrupt

    gate = threading.Event()
    generation, _ = begin(lane, gate=gate, watch=watch)
    threading.Timer(0.1, pressed.set).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        next(generation)
    interrupted_s = time.monotonic() - began
    generation.close()
    other, _ = begin(lane)

    assert next(other).token == 0
    assert interrupted_s < 0.3
    assert time.monotonic() - began < 1


def test_an_interrupted_wait_loses_no_token() -> None:
    """Who asks again gets the token that was waited for."""
    calls = iter([True, False, False, False])

    def watch() -> None:
        if next(calls, False):
            raise KeyboardInterrupt

    gate = threading.Event()
    generation, _ = begin(Lane(), gate=gate, watch=watch)
    with pytest.raises(KeyboardInterrupt):
        next(generation)
    gate.set()

    assert [next(generation).token for _ in range(3)] == [0, 1, 2]


def test_progress_is_told_in_the_asker_s_thread() -> None:
    """It may draw on a terminal, and what it raises ends the wait."""
    heard: set[int] = set()
    gate = threading.Event()

    def progress(done: int, total: int) -> None:
        heard.add(threading.get_ident())
        if done > 3:
            gate.set()

    generation, _ = begin(Lane(), gate=gate, progress=progress)
    next(generation)

    assert heard == {threading.get_ident()}


def test_an_error_is_the_asker_s() -> None:
    """The compute thread lives on, and the next request is served."""
    lane = Lane()

    class Failing(Counting):
        def __next__(self) -> GeneratedToken:
            raise MemoryError("too much")

    generation = ThreadedGeneration(lane, Request([1]), Failing)
    with pytest.raises(MemoryError, match="too much"):
        next(generation)
    other, _ = begin(lane)

    assert list(generation) == []
    assert next(other).token == 0


def test_what_a_failed_step_held_is_freed_where_it_was_made() -> None:
    """Also what the frames of the error behind the named one hold."""

    class Array:
        """What belongs to the compute thread."""

    held: list[weakref.ref[Array]] = []

    def compute() -> None:
        array = Array()
        held.append(weakref.ref(array))
        raise RuntimeError("[METAL] No.")

    class Failing(Counting):
        def __next__(self) -> GeneratedToken:
            with device_errors():
                compute()
            return super().__next__()

    with pytest.raises(DeviceError) as caught:
        next(ThreadedGeneration(Lane(), Request([1]), Failing))

    assert isinstance(caught.value.__cause__, RuntimeError)
    assert held[0]() is None


def test_a_request_that_is_refused_is_not_begun() -> None:
    """The error comes at once, in the asker's thread."""

    def refuse(request: Request) -> Generation:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        ThreadedGeneration(Lane(), Request([1]), refuse)
