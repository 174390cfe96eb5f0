"""What threads and the compute thread send each other: demands, tokens and progress."""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass, field
from queue import SimpleQueue

from gptoss_mlx.generation.request import GeneratedToken, Generation

__all__ = [
    "Ask",
    "Close",
    "ClosedError",
    "End",
    "Finish",
    "Job",
    "Lane",
    "Progress",
]


class Lane:
    """The queue of one model. Only the compute thread reads or changes it.

    Attributes:
        process: The id of the process that loaded the model.
    """

    def __init__(self) -> None:
        self.process = os.getpid()
        self.holder: Job | None = None
        self.waiting: deque[Job] = deque()


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a prefill."""

    done: int
    total: int


class End:
    """Sent after the last token."""


class ClosedError(Exception):
    """The request was closed while its prompt was being prefilled."""


@dataclass(eq=False, slots=True)
class Job:
    """A request, as the compute thread keeps it.

    Attributes:
        replies: The queue to the asking thread.
        closed: Whether nobody will ask again. Any thread may set it.
        thread: The thread that asked last.
        served_at: The time of the last token that was passed on.
    """

    lane: Lane
    replies: SimpleQueue[Progress | GeneratedToken | BaseException | End] = field(
        default_factory=SimpleQueue
    )
    generation: Generation | None = None
    closed: bool = False
    thread: int = 0
    served_at: float = 0.0

    def progress(self, done: int, total: int) -> None:
        """Report progress to the asking thread, if there still is one."""
        if self.closed:
            raise ClosedError
        self.replies.put(Progress(done, total))


@dataclass(frozen=True, slots=True)
class Ask:
    """A demand for a job's next token."""

    job: Job
    thread: int


@dataclass(frozen=True, slots=True)
class Close:
    """A job without any further demand."""

    job: Job


class Finish:
    """The end of the process."""
