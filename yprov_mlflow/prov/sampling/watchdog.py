"""A thread for other people's code: jobs one after the other, and a cure for one that hangs."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


_AFTER_FAULT_S = 1.0
"""How long a lane whose job or tick failed waits for the next job before it ticks again."""


class Abandoned(BaseException):
    """Raised in a thread that came back from a call too late: another has taken its place.

    No fault, so no ``Exception``.
    """


class _Call:
    """A call that is going on; no two are equal."""

    def __init__(self, who: str) -> None:
        self.who = who


class SupervisedThread:
    """One daemon thread that does jobs in order, replaced when a call in it does not return.

    Args:
        name: Name of the thread.
        limit_s: How long one call may take.
        tick: Called when nothing is to be done, gives the seconds until it wants to be called
            again; None for not before the next job.
        on_hang: Told, in the thread that takes over, whose call did not return.
        on_error: Told what a job or ``tick`` raised.
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
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._generation = 0
        self._call: _Call | None = None
        self._seen: _Call | None = None
        self._seen_for_s = 0.0
        self._checked_s = 0.0

    def put(self, job: Callable[[], None]) -> None:
        """Have a job done after those before it; the first one starts the thread."""
        self._jobs.put(job)
        if self._generation == 0:
            with self._lock:
                if self._generation == 0:
                    self._start()

    def call(self, who: str, function: Callable[[], Result]) -> Result:
        """Call, in a job, what may hang.

        Raises:
            Abandoned: It took so long that this thread was given up meanwhile.
            RuntimeError: It wanted to end the thread or the process, which is not for it to do.
        """
        generation = self._generation
        self._call = _Call(who)
        try:
            return function()
        except Exception:
            raise
        except BaseException as error:  # such as what ``sys.exit`` raises
            raise RuntimeError(f"it raised {error!r}") from error
        finally:
            with self._lock:
                late = generation != self._generation
                if not late:
                    self._call = None
            if late:
                raise Abandoned

    @property
    def calling(self) -> str | None:
        """Whose call the thread is in now, None if in none."""
        call = self._call
        return None if call is None else call.who

    def check(self) -> None:
        """Replace the thread if its call takes too long; to be asked again and again by another.

        Only the time counts in which who asks came to work as well: a training that keeps the
        interpreter's lock for a while keeps it from all.
        """
        now_s = time.monotonic()
        step_s = min(now_s - self._checked_s, self.limit_s / 3)
        self._checked_s = now_s
        call = self._call
        if call is not self._seen:
            self._seen, self._seen_for_s = call, 0.0
            return
        self._seen_for_s += step_s
        if call is None or self._seen_for_s < self.limit_s:
            return
        with self._lock:
            if self._call is not call:
                return
            self._call = None
            self._start(lambda: self._on_hang(call.who))

    def _start(self, first: Callable[[], None] | None = None) -> None:
        self._generation += 1
        arguments = (self._generation, first)
        thread = threading.Thread(target=self._work, args=arguments, name=self.name, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # there are too many, or the interpreter ends
            self._generation -= 1
            raise

    def _work(self, generation: int, job: Callable[[], None] | None) -> None:
        wait_s: float | None = 0.0
        while generation == self._generation:
            try:
                if job is not None:
                    job()
                wait_s = self._tick()
            except Abandoned:
                return
            except Exception as error:  # noqa: BLE001 - a collector's fault ends nothing else
                self._on_error(error)
                wait_s = _AFTER_FAULT_S
            try:
                job = self._jobs.get(timeout=wait_s)
            except queue.Empty:
                job = None
