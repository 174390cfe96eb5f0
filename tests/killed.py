"""A program that is killed at some moment of its work, which nothing can handle."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from random import Random

__all__ = ["kill_at_random"]


def kill_at_random(
    imports: str, work: str, *, times: int, then: Callable[[], bool], seed: int
) -> int:
    """Kill a program at random moments of its work, with SIGKILL.

    Args:
        imports: Its first lines, whose time does not count.
        work: The lines after them.
        times: How often it is to be killed before its end.
        then: Called after each time. Returns whether the program had more to do: a
            program that was quicker than the moment does not count.
        seed: Of the moments.

    Returns:
        How often it was killed.
    """
    random = Random(seed)
    program = f"{imports}\nprint('begin', flush=True)\n{work}\n"
    seconds, killed = _seconds(program), 0
    then()
    for _ in range(4 * times):
        if killed == times:
            break
        process, begun = _start(program), time.monotonic()
        try:
            process.wait(random.uniform(0, seconds))
            # The machine was busier before.
            seconds = min(seconds, time.monotonic() - begun)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.returncode in (0, -9)
        killed += then() and process.returncode == -9
    return killed


def _start(program: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "begin\n"
    return process


def _seconds(program: str) -> float:
    process, begun = _start(program), time.monotonic()
    assert process.wait() == 0
    return time.monotonic() - begun
