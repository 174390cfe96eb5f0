"""The one thread in which models compute, whichever thread asks.

MLX's streams belong to threads: an array that is still lazy can be evaluated only where it
was built, and a thread that ends with queued work takes the process with it. So a request
is computed here, a step at a time, and its tokens are handed to whoever asks for them.

A model answers one request at a time; others wait their turn, first come, first served. A
request whose tokens nobody has asked for in ``IDLE_S`` gives way to the others, and so it
does at once to one of its own thread, which cannot be asking for two at a time. It reads
its text again when it goes on.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue
from typing import Self

import mlx.core as mx

from gptoss_mlx.errors import AnswerError
from gptoss_mlx.generation.request import GeneratedToken, Generation, Request

__all__ = ["IDLE_S", "Lane", "ThreadedGeneration", "is_computing"]

IDLE_S = 1.0
"""Seconds without a demand after which a request gives way to one that waits."""

WATCH_S = 0.05
"""Seconds between two calls of a request's ``watch``."""


class Lane:
    """Whose turn it is with one model. Only the compute thread looks inside."""

    def __init__(self) -> None:
        self.holder: _Job | None = None
        self.waiting: deque[_Job] = deque()


@dataclass(frozen=True, slots=True)
class _Progress:
    """How far the prompt is prefilled."""

    done: int
    total: int


class _End:
    """No more tokens come."""


class _ClosedError(Exception):
    """The request was closed while its prompt was being prefilled."""


@dataclass(eq=False, slots=True)
class _Job:
    """A request as the compute thread sees it.

    Attributes:
        replies: To whoever asks for tokens.
        closed: Whether nobody will ask again. Set by any thread.
        thread: Who asked last.
        served_at: When a token was last handed over.
    """

    lane: Lane
    replies: SimpleQueue[_Progress | GeneratedToken | BaseException | _End] = field(
        default_factory=SimpleQueue
    )
    generation: Generation | None = None
    closed: bool = False
    thread: int = 0
    served_at: float = 0.0

    def progress(self, done: int, total: int) -> None:
        """Tell the asker, unless there is none any more."""
        if self.closed:
            raise _ClosedError
        self.replies.put(_Progress(done, total))


class ThreadedGeneration:
    """A request in progress, whose tokens may be asked for in any thread.

    It can be left, closed or collected as garbage in any thread; none of these waits.

    Args:
        lane: The model's.
        request: What to continue.
        begin: Makes the generation; called here, and before anything is computed.

    Raises:
        GptOssError: What ``begin`` raises.
        ValueError: The same.
    """

    def __init__(
        self, lane: Lane, request: Request, begin: Callable[[Request], Generation]
    ) -> None:
        self.cached_tokens = 0
        self._request = request
        self._lock = threading.Lock()
        self._asked = False  # and not answered yet
        self._begun = False
        self._ended = False
        self._post = _thread.post  # a finalizer may run when modules are gone
        self._job = _Job(lane)
        self._job.generation = begin(replace(request, progress=self._job.progress))

    def __iter__(self) -> Self:
        """Iterate over the tokens."""
        return self

    def __next__(self) -> GeneratedToken:
        """Wait for the next token.

        Raises:
            StopIteration: There is none.
            AnswerError: Another thread has closed it meanwhile, or the process
                ends.
            RuntimeError: A processor or a grammar asks: it would wait for itself.
            Exception: What the model, ``request.progress`` or ``request.watch`` raises.
        """
        if _thread.is_current():
            raise RuntimeError(
                "[Generation] a processor or a grammar must not ask a model for tokens."
            )
        with self._lock:
            if self._ended:
                raise StopIteration
            if not self._asked:  # Else an earlier wait was interrupted.
                self._asked = self._begun = True
                self._post(_Ask(self._job, threading.get_ident()))
            while isinstance(reply := self._wait(), _Progress):
                if self._request.progress is not None:
                    self._request.progress(reply.done, reply.total)
                if self._request.watch is not None:
                    self._request.watch()
            self._asked = False
            if isinstance(reply, GeneratedToken):
                if self._job.generation is not None:
                    self.cached_tokens = self._job.generation.cached_tokens
                return reply
            self._ended = True
            if isinstance(reply, BaseException):
                raise reply
            raise StopIteration

    def close(self) -> None:
        """Stop. What is being computed ends by itself; nobody waits for it."""
        self._ended = True
        if self._begun and not self._job.closed:
            self._job.closed = True
            self._post(_Close(self._job))

    def __del__(self) -> None:
        """Stop, where nobody has."""
        # A queue's put may be called from a finalizer; a lock may not be taken there.
        if hasattr(self, "_job"):
            self.close()

    def _wait(self) -> _Progress | GeneratedToken | BaseException | _End:
        watch = self._request.watch
        if watch is None:
            return self._job.replies.get()
        while True:
            try:
                return self._job.replies.get(timeout=WATCH_S)
            except Empty:
                watch()


@dataclass(frozen=True, slots=True)
class _Ask:
    """A demand for a job's next token."""

    job: _Job
    thread: int


@dataclass(frozen=True, slots=True)
class _Close:
    """A job that nobody will ask again."""

    job: _Job


class _Finish:
    """The process ends."""


class _ComputeThread:
    """Runs one step of one job at a time."""

    def __init__(self) -> None:
        self._finished = False
        self._messages: SimpleQueue[_Ask | _Close | _Finish] = SimpleQueue()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._contended: set[Lane] = set()  # those with somebody waiting
        self.is_computing = False
        # A job that is computing must not be freed in another thread.
        self._jobs: set[_Job] = set()

    def post(self, message: _Ask | _Close) -> None:
        """Hand over a message. Nothing is waited for."""
        if isinstance(message, _Ask):
            self._start()
        self._messages.put(message)
        if self._finished:
            message.job.replies.put(_closed(FINISHED))

    def _start(self) -> None:
        if self._thread is not None and self._thread.is_alive():
            return
        with self._starting:
            if self._finished or (self._thread is not None and self._thread.is_alive()):
                return
            # No daemons: Python waits for them before it takes itself apart.
            self._thread = threading.Thread(
                target=self._run, name="gptoss-mlx compute", daemon=False
            )
            self._thread.start()
            threading.Thread(
                target=self._finish, name="gptoss-mlx finish", daemon=False
            ).start()

    def is_current(self) -> bool:
        """Tell whether this is the thread that computes."""
        return self._thread is threading.current_thread()

    def _finish(self) -> None:
        """End the compute thread when the process ends, once its step is computed."""
        threading.main_thread().join()
        self._messages.put(_Finish())

    def _run(self) -> None:
        while True:
            try:
                message = self._messages.get(timeout=self._idle_left())
            except Empty:
                message = None
            match message:
                case _Ask(job, thread):
                    job.thread = thread
                    self._jobs.add(job)
                    job.lane.waiting.append(job)
                    self._contended.add(job.lane)
                case _Close(job):
                    self._close(job, CLOSED)
                case _Finish():
                    for job in list(self._jobs):
                        self._close(job, FINISHED)
                    # Else MLX ends the process when this thread returns.
                    mx.synchronize()
                    mx.clear_streams()
                    self._finished = True
                    return
            for lane in list(self._contended):
                self._serve(lane)

    def _idle_left(self) -> float | None:
        """Return how long to wait until a holder has been idle for long enough."""
        since = [lane.holder.served_at for lane in self._contended if lane.holder]
        return max(min(since) + IDLE_S - time.monotonic(), 0) if since else None

    def _serve(self, lane: Lane) -> None:
        """Compute for those who wait, as far as it is their turn."""
        while lane.waiting and (job := self._next(lane)) is not None:
            lane.waiting.remove(job)
            if job.closed:
                self._end(job)
            else:
                lane.holder = job
                self._step(job)
        if not lane.waiting:
            self._contended.discard(lane)

    def _next(self, lane: Lane) -> _Job | None:
        """Return whose turn it is."""
        holder, first = lane.holder, lane.waiting[0]
        if holder is None or holder in lane.waiting:
            return holder or first
        idle = time.monotonic() - holder.served_at >= IDLE_S
        return first if idle or holder.thread == first.thread else None

    def _step(self, job: _Job) -> None:
        self.is_computing = True
        try:
            if job.generation is None:
                raise StopIteration
            token = next(job.generation)
        except StopIteration:
            self._end(job)
            return
        except _ClosedError:
            self._close(job, CLOSED)
            return
        except BaseException as error:
            # What the frames hold is freed here, and not where the error is caught.
            _clear_frames(error)
            job.replies.put(error)
            self._end(job)
            return
        finally:
            self.is_computing = False
        job.served_at = time.monotonic()
        job.replies.put(token)
        if token.finish_reason is not None:
            self._release(job)

    def _close(self, job: _Job, reason: str) -> None:
        """End a job before its end. Who still waits must not take it for the whole."""
        job.replies.put(_closed(reason))
        self._end(job)

    def _end(self, job: _Job) -> None:
        if job.generation is not None:
            job.generation.close()
        job.replies.put(_End())
        self._jobs.discard(job)
        self._release(job)

    def _release(self, job: _Job) -> None:
        lane = job.lane
        if lane.holder is job:
            lane.holder = None
        if job in lane.waiting:
            lane.waiting.remove(job)


def _clear_frames(error: BaseException) -> None:
    """Free what the frames of an error, and of those it comes from, hold."""
    cause: BaseException | None = error
    while cause is not None:
        traceback.clear_frames(cause.__traceback__)
        cause = cause.__context__


CLOSED, FINISHED = "it was closed by another thread", "the process ends"


def _closed(reason: str) -> AnswerError:
    return AnswerError(f"The answer must come to its end but {reason}.")


_thread = _ComputeThread()


def is_computing() -> bool:
    """Tell whether a model is in the middle of a step, which cannot be broken off."""
    return _thread.is_computing
