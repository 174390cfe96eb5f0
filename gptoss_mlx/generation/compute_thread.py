"""The one thread in which models compute, whichever thread asks.

MLX's streams belong to threads: a lazy array can be evaluated only in the thread that
built it, and a thread that ends with queued work ends the process. So a request is computed
here, one step at a time, and its tokens are passed to the thread that asks for them.

A model answers one request at a time; others wait their turn, first come, first served. If
nobody asks for a request's next token for ``IDLE_S`` seconds, it yields to waiting ones. It
yields at once to a new request from its own thread, since one thread cannot read two
streams at a time. It prefills its text again when it continues.
"""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import Self

import mlx.core as mx

from gptoss_mlx.errors import AnswerError
from gptoss_mlx.generation.jobs import (
    Ask,
    Close,
    ClosedError,
    End,
    Finish,
    Job,
    Lane,
    Progress,
)
from gptoss_mlx.generation.request import GeneratedToken, Generation, Request

__all__ = ["IDLE_S", "ThreadedGeneration", "is_computing"]

IDLE_S = 1.0
"""Seconds without a demand after which a request yields to a waiting one."""

WATCH_S = 0.05
"""Seconds between two calls of a request's ``watch``."""


class ThreadedGeneration:
    """A request in progress. Any thread may ask for its tokens.

    Any thread may leave, close or garbage-collect it; none of these waits.

    Args:
        lane: The model's queue.
        request: The request to answer.
        begin: Makes the generation; called here, before anything is computed.

    Raises:
        GptOssError: Raised by ``begin``.
        ValueError: Raised by ``begin``.
    """

    def __init__(
        self, lane: Lane, request: Request, begin: Callable[[Request], Generation]
    ) -> None:
        self.cached_tokens = 0
        self._request = request
        self._lock = threading.Lock()
        self._asked = False  # whether a demand is still unanswered
        self._begun = False
        self._ended = False
        self._post = _thread.post  # a finalizer may run after modules are unloaded
        self._job = Job(lane)
        self._job.generation = begin(replace(request, progress=self._job.progress))

    def __iter__(self) -> Self:
        """Iterate over the tokens."""
        return self

    def __next__(self) -> GeneratedToken:
        """Wait for the next token.

        Raises:
            StopIteration: There are no more tokens.
            AnswerError: Another thread has closed it, or the process
                ends.
            RuntimeError: A processor or a grammar asks: it would wait for itself.
            Exception: Raised by the model, ``request.progress`` or ``request.watch``.
        """
        if _thread.is_current():
            raise RuntimeError(
                "[Generation] a processor or a grammar must not ask a model for tokens."
            )
        with self._lock:
            if self._ended:
                raise StopIteration
            if not self._asked:  # otherwise an earlier wait was interrupted
                self._asked = self._begun = True
                self._post(Ask(self._job, threading.get_ident()))
            while isinstance(reply := self._wait(), Progress):
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
        """Stop. The step in progress is still computed, but nobody waits for it."""
        self._ended = True
        if self._begun and not self._job.closed:
            self._job.closed = True
            self._post(Close(self._job))

    def __del__(self) -> None:
        """Stop, unless it is closed already."""
        # A finalizer may call a queue's put, but it must not take a lock.
        if hasattr(self, "_job"):
            self.close()

    def _wait(self) -> Progress | GeneratedToken | BaseException | End:
        watch = self._request.watch
        if watch is None:
            return self._job.replies.get()
        while True:
            try:
                return self._job.replies.get(timeout=WATCH_S)
            except Empty:
                watch()


class _OwnThread(threading.Thread):
    """A thread of this module. Python waits for it before it shuts down."""

    def __init__(self, target: Callable[[], None], name: str) -> None:
        super().__init__(target=target, name=f"gptoss-mlx {name}", daemon=False)


class _ComputeThread:
    """Runs one step of one job at a time."""

    def __init__(self) -> None:
        self._finished = False
        self._messages: SimpleQueue[Ask | Close | Finish] = SimpleQueue()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._contended: set[Lane] = set()  # lanes with waiting requests
        self.is_computing = False
        # A running job must not be freed in another thread.
        self._jobs: set[Job] = set()

    def post(self, message: Ask | Close) -> None:
        """Send a message, without waiting."""
        if isinstance(message, Close):
            self._messages.put(message)
            return
        if message.job.lane.process != os.getpid():  # MLX's threads are not copied
            message.job.replies.put(AnswerError(FORKED, hint=SPAWN))
            return
        with self._starting:
            if self._finished or _is_too_late():
                message.job.replies.put(_closed(FINISHED))
                return
            if self._thread is None or not self._thread.is_alive():
                self._thread = _OwnThread(self._run, "compute")
                self._thread.start()
                _OwnThread(self._finish, "finish").start()
            self._messages.put(message)

    def is_current(self) -> bool:
        """Whether this is the compute thread."""
        return self._thread is threading.current_thread()

    def _finish(self) -> None:
        """End the compute thread when the process ends, after its current step.

        Python waits for all threads that are not daemons, and these may still ask.
        """
        threading.main_thread().join()
        while others := _others():
            others[0].join()
        self._messages.put(Finish())

    def _run(self) -> None:
        while True:
            try:
                message = self._messages.get(timeout=self._idle_left())
            except Empty:
                message = None
            match message:
                case Ask(job, thread):
                    job.thread = thread
                    self._jobs.add(job)
                    job.lane.waiting.append(job)
                    self._contended.add(job.lane)
                case Close(job):
                    self._close(job, CLOSED)
                case Finish():
                    self._refuse_all()
                    # Otherwise MLX ends the process when this thread returns.
                    mx.synchronize()
                    mx.clear_streams()
                    return
            for lane in list(self._contended):
                self._serve(lane)

    def _refuse_all(self) -> None:
        """End all jobs, also those that are asked for meanwhile and later."""
        with self._starting:
            self._finished = True
        while not self._messages.empty():
            if isinstance(message := self._messages.get(), Ask):
                self._jobs.add(message.job)
        for job in list(self._jobs):
            self._close(job, FINISHED)

    def _idle_left(self) -> float | None:
        """Return how long to wait until a holder has been idle for long enough."""
        since = [lane.holder.served_at for lane in self._contended if lane.holder]
        return max(min(since) + IDLE_S - time.monotonic(), 0) if since else None

    def _serve(self, lane: Lane) -> None:
        """Compute tokens for waiting requests, in their order."""
        while lane.waiting and (job := self._next(lane)) is not None:
            lane.waiting.remove(job)
            if job.closed:
                self._end(job)
            else:
                lane.holder = job
                self._step(job)
        if not lane.waiting:
            self._contended.discard(lane)

    def _next(self, lane: Lane) -> Job | None:
        """Return the job whose turn it is."""
        holder, first = lane.holder, lane.waiting[0]
        if holder is None or holder in lane.waiting:
            return holder or first
        idle = time.monotonic() - holder.served_at >= IDLE_S
        return first if idle or holder.thread == first.thread else None

    def _step(self, job: Job) -> None:
        self.is_computing = True
        try:
            if job.generation is None:
                raise StopIteration
            token = next(job.generation)
        except StopIteration:
            self._end(job)
            return
        except ClosedError:
            self._close(job, CLOSED)
            return
        except BaseException as error:
            # Free the arrays in the error's frames here, not in the thread that catches it.
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

    def _close(self, job: Job, reason: str) -> None:
        """End a job early. A waiting thread must not take its answer as complete."""
        job.replies.put(_closed(reason))
        self._end(job)

    def _end(self, job: Job) -> None:
        if job.generation is not None:
            job.generation.close()
        job.replies.put(End())
        self._jobs.discard(job)
        self._release(job)

    def _release(self, job: Job) -> None:
        lane = job.lane
        if lane.holder is job:
            lane.holder = None
        if job in lane.waiting:
            lane.waiting.remove(job)


def _others() -> list[threading.Thread]:
    """Return the threads of others that Python waits for before it shuts down."""
    main = threading.main_thread()
    return [
        thread
        for thread in threading.enumerate()
        if thread is not main
        and thread.is_alive()
        and not (thread.daemon or isinstance(thread, _OwnThread))
    ]


def _is_too_late() -> bool:
    """Whether Python shuts down, and does not wait for this thread's answer."""
    main, thread = threading.main_thread(), threading.current_thread()
    return not main.is_alive() and (thread is main or thread.daemon)


def _clear_frames(error: BaseException) -> None:
    """Free the locals of an error's frames, and of its causes' frames."""
    cause: BaseException | None = error
    while cause is not None:
        traceback.clear_frames(cause.__traceback__)
        cause = cause.__context__


CLOSED, FINISHED = "it was closed by another thread", "the process ends"

FORKED = "A model must be asked in the process that loaded it but this one was forked."
SPAWN = 'Load it in the child process: multiprocessing.get_context("spawn").'


def _closed(reason: str) -> AnswerError:
    return AnswerError(f"The answer must come to its end but {reason}.")


_thread = _ComputeThread()


def _begin_again() -> None:
    """Forget threads and locks that a forked process has no copy of."""
    global _thread
    _thread = _ComputeThread()


os.register_at_fork(after_in_child=_begin_again)


def is_computing() -> bool:
    """Whether a model is computing a step, which cannot be interrupted."""
    return _thread.is_computing
