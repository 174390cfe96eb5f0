from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from random import Random
from typing import Any, Self

import mlx.core as mx
import pytest
from golden import Case

from gptoss_mlx import load_model
from gptoss_mlx.device_errors import device_errors
from gptoss_mlx.errors import AnswerError, DeviceError
from gptoss_mlx.generation import compute_thread
from gptoss_mlx.generation.compute_thread import ThreadedGeneration
from gptoss_mlx.generation.engine import generate
from gptoss_mlx.generation.jobs import Lane
from gptoss_mlx.generation.model_source import ModelSource
from gptoss_mlx.generation.request import GeneratedToken, Generation, Request
from gptoss_mlx.generation.sampling import Sampling
from gptoss_mlx.generation.stops import Stops
from gptoss_mlx.model.transformer import Model


@pytest.fixture(scope="module")
def model(released: dict[Case, Path]) -> Model:
    """A tiny model of random weights, in float32."""
    return load_model(released[Case(0, 8)], dtype=mx.float32)


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


PROMPTS = [[(7 * n + i) % 500 + 1 for i in range(5 + 3 * n)] for n in range(8)]
SAMPLINGS = (Sampling(temperature=0), Sampling(temperature=0.8, seed=3))


def asked(n: int, sampling: Sampling) -> Request:
    """Ask for eight tokens."""
    return Request(PROMPTS[n], sampling=sampling, stops=Stops(max_tokens=8))


def ids(tokens: Iterator[GeneratedToken]) -> list[int]:
    """The ids alone."""
    return [step.token for step in tokens]


def storm(model: Model, seed: int, *, asks: int = 25) -> list[str]:
    """Let 4 threads ask so many times each, and leave streams to one another.

    Returns:
        What was wrong.
    """
    right = {
        (n, sampling): ids(generate(model, asked(n, sampling)))
        for n in range(len(PROMPTS))
        for sampling in SAMPLINGS
    }
    source = ModelSource(model)
    wrong: list[str] = []
    left: SimpleQueue[Generation] = SimpleQueue()

    def ask(thread: int) -> None:
        random = Random(100 * seed + thread)
        for _ in range(asks):
            key = (random.randrange(len(PROMPTS)), random.choice(SAMPLINGS))
            generation = source(asked(*key))
            count = random.choice([8, 8, 8, 0, 1, 3])
            said = [step.token for step, _ in zip(generation, range(count), strict=False)]
            if said != right[key][:count]:
                wrong.append(f"{key}: {said} in place of {right[key]}")
            if count < 8:
                left.put(generation)
            del generation
            if random.random() < 0.5 and not left.empty():
                other = left.get()
                match random.randrange(3):
                    case 0:
                        other.close()
                    case 1:
                        ids(other)
                    case _:
                        pass  # collected as garbage

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return wrong


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a stream that was left give way soon."""
    monkeypatch.setattr(compute_thread, "IDLE_S", 0.02)


def test_four_threads_get_right_answers(model: Model, impatient: None) -> None:
    """Streams are left, closed, read to their end and collected in other threads."""
    assert storm(model, 0, asks=6) == []


@pytest.mark.slow
def test_four_threads_get_right_answers_each_time(model: Model, impatient: None) -> None:
    """20 times 100 asks."""
    assert [storm(model, seed) for seed in range(20)] == [[]] * 20


class Flat:
    """A model that finds all of 50 tokens equally likely, whatever was said."""

    def __init__(self) -> None:
        self.config = self
        self.max_position_embeddings = 1 << 30
        self.vocab_size = 50

    def model(
        self, tokens: mx.array, cache: object, *, last_only: bool = False
    ) -> mx.array:
        """No hidden state."""
        return mx.zeros((1, 1 if last_only else tokens.shape[1], 1))

    def lm_head(self, hidden: mx.array) -> mx.array:
        """One logit for all."""
        return mx.zeros((*hidden.shape[:2], 50))

    def make_cache(self) -> list[object]:
        """No layers."""
        return []


@pytest.mark.parametrize("count", [2_000, pytest.param(20_000, marks=pytest.mark.slow)])
def test_seeded_draws_are_the_same_from_two_threads(count: int) -> None:
    """Draws for which two threads ask alternately equal one thread's."""
    source = ModelSource(Flat())  # type: ignore[arg-type]
    request = Request(
        [1], sampling=Sampling(seed=5), stops=Stops(frozenset(), max_tokens=count)
    )
    alone = ids(source(request))
    shared = source(request)
    drawn: list[int] = []
    turns = [threading.Semaphore(1), threading.Semaphore(0)]

    def draw(which: int) -> None:
        for _ in range(count // 2):
            turns[which].acquire()
            drawn.append(next(shared).token)
            turns[1 - which].release()

    threads = [threading.Thread(target=draw, args=(i,)) for i in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert drawn == alone
    assert len(set(alone)) == 50


WAITING_CALLER = """
import time
from gptoss_mlx.generation.compute_thread import ThreadedGeneration
from gptoss_mlx.generation.jobs import Lane
from gptoss_mlx.generation.request import Request

class Slow:
    cached_tokens = 0
    def __iter__(self):
        return self
    def __next__(self):
        print("waiting", flush=True)
        time.sleep(3)
    def close(self):
        pass

generation = ThreadedGeneration(Lane(), Request([1]), lambda request: Slow())
try:
    next(generation)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_ctrl_c_while_a_caller_waits_is_heard_at_once(ctrl_c_is_heard: None) -> None:
    """Within 0.2 s, though the model is in the middle of a step."""
    with subprocess.Popen(
        [sys.executable, "-c", WAITING_CALLER], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        time.sleep(0.1)
        began = time.monotonic()
        os.kill(process.pid, signal.SIGINT)
        assert process.stdout.readline() == "interrupted\n"
        heard_s = time.monotonic() - began
        process.kill()

    assert heard_s < 0.2


ASK_AT_THE_END = """
import atexit, sys
def ask():
    try:
        next(source(Request([1])))
    except GptOssError as error:
        print(error)
atexit.register(ask)  # runs when the compute thread has finished
from gptoss_mlx import GptOssError, load_model
from gptoss_mlx.generation.model_source import ModelSource
from gptoss_mlx.generation.request import Request
source = ModelSource(load_model(sys.argv[1]))
next(source(Request([1])))
"""


def test_who_asks_while_the_process_ends_is_refused(released: dict[Case, Path]) -> None:
    """And does not wait for ever."""
    done = subprocess.run(
        [sys.executable, "-c", ASK_AT_THE_END, str(released[Case(0, 8)])],
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert done.stdout == "The answer must come to its end but the process ends.\n"


LEAVE_A_STREAM = """
import sys
from gptoss_mlx import load_model
from gptoss_mlx.generation.model_source import ModelSource
from gptoss_mlx.generation.request import Request
stream = ModelSource(load_model(sys.argv[1]))(Request(list(range(1, 90))))
next(stream)
"""


def test_a_process_ends_in_order_with_a_stream_half_read(
    released: dict[Case, Path],
) -> None:
    """The step that is queued does not take the process down."""
    for _ in range(3):
        subprocess.run(
            [sys.executable, "-c", LEAVE_A_STREAM, str(released[Case(0, 8)])], check=True
        )
