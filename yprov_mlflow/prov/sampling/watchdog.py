"""A thread for third-party code that may hang: runs jobs in order and is replaced if one hangs."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

Result = TypeVar("Result")

# Pause after a job or tick that raised, so that a tick that always raises does not spin.
_PAUSE_AFTER_ERROR_S = 1.0


class CallAbandoned(BaseException):
    """Raised when a call returns in a thread that the watchdog has already replaced.

    Not an ``Exception``: no handler for the errors of jobs may catch it and let the old thread
    continue beside the new one.
    """


@dataclass(eq=False)
class _Call:
    """A running call. Compared by identity: the same owner may call again."""

    owner: str


class SupervisedThread:
    """A daemon thread that runs jobs in order, and is replaced if a call in one of them hangs.

    Python cannot stop a thread. So the hanging thread is left behind, a new one continues with the
    next job, and ``CallAbandoned`` ends the old one when its call returns, if ever.

    Args:
        name: Name of the thread.
        limit_s: Seconds that a call may take.
        tick: Called when the queue is empty; returns the seconds until its next call, or None to
            wait for the next job.
        on_hang: Called with the owner of a hanging call, in the thread that takes over.
        on_error: Called with the exception of a job or of ``tick``.
    """

    def __init__(
        self,
        name: str,
        limit_s: float,
        *,
        tick: Callable[[], float | None],
        on_hang: Callable[[str], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        self.name = name
        self.limit_s = limit_s
        self._tick = tick
        self._on_hang = on_hang
        self._on_error = on_error
        self._jobs: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._generation = 0  # number of the current thread, 0 before the first
        self._call: _Call | None = None
        self._checked_call: _Call | None = None
        self._checked_for_s = 0.0
        self._last_check_s = 0.0

    def put(self, job: Callable[[], object]) -> None:
        """Add a job to the queue; the first one starts the thread."""
        self._jobs.put(job)
        if self._generation == 0:
            with self._lock:
                if self._generation == 0:
                    self._start()

    def call(self, owner: str, function: Callable[[], Result]) -> Result:
        """Call a function that may hang, from a job.

        Raises:
            CallAbandoned: The thread was replaced during the call.
            RuntimeError: The function tried to end the thread or the process.
        """
        generation = self._generation
        self._call = _Call(owner)
        try:
            return function()
        except BaseException as error:
            if isinstance(error, Exception):
                raise
            raise RuntimeError(f"it raised {error!r}") from error  # such as SystemExit
        finally:
            with self._lock:
                abandoned = generation != self._generation
                if not abandoned:
                    self._call = None
            if abandoned:
                raise CallAbandoned

    @property
    def calling(self) -> str | None:
        """Owner of the running call, or None."""
        return call.owner if (call := self._call) else None

    def check(self) -> None:
        """Replace the thread if its call hangs. Another thread must call this regularly."""
        # Only time in which the checking thread itself runs counts: each check adds at most a
        # third of the limit. Training code that holds the GIL for a minute delays the collector
        # and the check alike, and must not look like a hanging collector.
        now_s = time.monotonic()
        step_s = min(now_s - self._last_check_s, self.limit_s / 3)
        self._last_check_s = now_s
        call = self._call
        if call is not self._checked_call:
            self._checked_call, self._checked_for_s = call, 0.0
            return
        self._checked_for_s += step_s
        if call is None or self._checked_for_s < self.limit_s:
            return
        with self._lock:
            if self._call is not call:  # it returned in the meantime
                return
            self._call = None
            self._start(lambda: self._on_hang(call.owner))

    def _start(self, first_job: Callable[[], object] | None = None) -> None:
        self._generation += 1
        arguments = (self._generation, first_job)
        thread = threading.Thread(target=self._run, args=arguments, name=self.name, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # too many threads, or the interpreter is shutting down: try later
            self._generation -= 1
            raise

    def _run(self, generation: int, job: Callable[[], object] | None) -> None:
        wait_s: float | None = 0.0
        while generation == self._generation:
            try:
                if job is not None:
                    job()
                wait_s = self._tick()
            except CallAbandoned:
                return
            except Exception as error:  # noqa: BLE001 - one failed job must not end the thread
                self._on_error(error)
                wait_s = _PAUSE_AFTER_ERROR_S
            try:
                job = self._jobs.get(timeout=wait_s)
            except queue.Empty:
                job = None
