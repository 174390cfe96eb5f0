"""A process that is interrupted, or ends, while an answer is computed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from golden import Case

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
        [sys.executable, "-c", ASK_AT_THE_END, str(released[Case(1, 8)])],
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert done.stdout == "The answer must come to its end but the process ends.\n"


LOADED = """
import atexit, os, sys, threading
from gptoss_mlx import GptOssError, load_model
from gptoss_mlx.generation.model_source import ModelSource
from gptoss_mlx.generation.request import Request
from gptoss_mlx.generation.stops import Stops
source = ModelSource(load_model(sys.argv[1]))
def ask():
    try:
        print(len(list(source(Request([1], stops=Stops(max_tokens=3))))), flush=True)
    except GptOssError as error:
        print(error, flush=True)
"""


def said(script: str, model: Path) -> str:
    """Return what a script prints after ``LOADED``."""
    return subprocess.run(
        [sys.executable, "-c", LOADED + script, str(model)],
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    ).stdout


@pytest.mark.parametrize("begun", [False, True])
def test_a_thread_that_nobody_joins_gets_its_answer(
    begun: bool, released: dict[Case, Path]
) -> None:
    """Python waits for it, also where the model answered the main thread before."""
    script = f"{'ask()' if begun else ''}\nthreading.Thread(target=ask).start()"

    for _ in range(3):
        assert said(script, released[Case(1, 8)]) == "3\n" * (1 + begun)


def test_a_thread_that_a_thread_starts_at_the_end_gets_its_answer(
    released: dict[Case, Path],
) -> None:
    """Though the one that was there when the main thread ended has ended too."""
    script = """
def start():
    threading.main_thread().join()
    ask()
    threading.Thread(target=ask).start()
threading.Thread(target=start).start()"""

    assert said(script, released[Case(1, 8)]) == "3\n3\n"


def test_the_first_question_in_an_atexit_callback_is_refused(
    released: dict[Case, Path],
) -> None:
    """Nothing is started that Python no longer waits for."""
    assert "the process ends" in said("atexit.register(ask)", released[Case(1, 8)])


def test_a_daemon_that_asks_at_the_end_keeps_nothing_waiting(
    released: dict[Case, Path],
) -> None:
    """It is refused, and the process ends."""
    script = """
def start():
    threading.main_thread().join()
    ask()
daemon = threading.Thread(target=start, daemon=True)
daemon.start()
atexit.register(daemon.join)"""

    assert "the process ends" in said(script, released[Case(1, 8)])


@pytest.mark.parametrize("begun", [False, True])
def test_a_forked_process_is_refused_at_once(
    begun: bool, released: dict[Case, Path]
) -> None:
    """The threads of the device are not copied, so that it would wait for ever."""
    script = f"""
{"ask()" if begun else ""}
if child := os.fork():
    sys.exit(os.waitpid(child, 0)[1])
ask()
os._exit(0)"""

    assert "but this one was forked" in said(script, released[Case(1, 8)])


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
            [sys.executable, "-c", LEAVE_A_STREAM, str(released[Case(1, 8)])], check=True
        )
