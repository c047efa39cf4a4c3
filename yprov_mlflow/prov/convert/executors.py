"""Executors: convert units in this process, in several processes, or on a Dask cluster."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Protocol

from yprov_mlflow.prov.convert.request import Request, Result, Unit
from yprov_mlflow.prov.convert.worker import work
from yprov_mlflow.prov.errors import MissingExtraError, StoreError
from yprov_mlflow.prov.sources.source import Problem

Batch = Sequence[Unit]


class Executor(Protocol):
    """Converts batches of units, ``count`` batches at a time."""

    count: int

    def map(self, request: Request, batches: Sequence[Batch]) -> Iterator[list[Result]]:
        """Yield the results of each batch, in any order."""


class InlineExecutor:
    """Converts in this process, one unit at a time."""

    count = 1

    def map(self, request: Request, batches: Sequence[Batch]) -> Iterator[list[Result]]:
        """Yield the results of each batch."""
        return (work(request, batch) for batch in batches)


class ProcessExecutor:
    """Converts in ``count`` child processes, which exit when this process does.

    A unit that kills its process (for example by running out of memory) fails alone: the units
    that were in work when the process pool broke are tried again one by one.
    """

    def __init__(self, count: int) -> None:
        self.count = count

    def map(self, request: Request, batches: Sequence[Batch]) -> Iterator[list[Result]]:
        """Yield the results of each batch, in any order."""
        suspects: list[Unit] = []
        pending = list(reversed(batches))
        while pending:
            try:
                yield from self._map(request, pending, suspects)
            except BrokenProcessPool:
                continue
        for unit in suspects:
            try:
                yield from self._map(request, [[unit]], [])
            except BrokenProcessPool:
                location = f"{request.source}, {unit.key}"
                problem = Problem(location, "its conversion killed the process", "all of it")
                yield [Result(unit.key, "failed", problems=(problem,))]

    def _map(
        self, request: Request, pending: list[Batch], suspects: list[Unit]
    ) -> Iterator[list[Result]]:
        """Convert batches from the end of ``pending``.

        If the pool breaks, the units in work are appended to ``suspects``.
        """
        # spawn: a fork would copy the locks of threads that importing libraries have started.
        spawn = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(self.count, spawn, initializer=_exit_with_parent)
        running: dict[Future[list[Result]], Batch] = {}
        try:
            while pending or running:
                # Two batches per process: none waits for this process to submit the next one.
                while pending and len(running) < 2 * self.count:
                    with _interrupts_blocked():
                        running[pool.submit(work, request, pending[-1])] = pending[-1]
                    # Only now: submit raises if a process has just died, and the batch must stay.
                    pending.pop()
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    results = future.result()
                    del running[future]
                    yield results
        finally:
            for batch in running.values():
                suspects.extend(batch)
            pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Block SIGINT; child processes started meanwhile keep it blocked, so Ctrl-C is ours alone."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _exit_with_parent() -> None:
    """Start a thread that ends this process when its parent ends, even if that is killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


class DaskExecutor:
    """Converts on a Dask cluster whose workers see the same folders as this process.

    Args:
        address: Address of the scheduler, such as ``tcp://host:8786``.

    Raises:
        MissingExtraError: Dask is not installed.
        StoreError: No scheduler answers at the address.
    """

    def __init__(self, address: str) -> None:
        try:
            from distributed import Client
        except ImportError as error:
            raise MissingExtraError.of("dask", "dask", "conversion on a cluster") from error
        try:
            self._client = Client(address, timeout="10s")
        except (OSError, ValueError) as error:  # ValueError: not an address
            raise StoreError.no_scheduler(address, str(error)) from error
        self.count = max(1, sum(self._client.nthreads().values()))

    def map(self, request: Request, batches: Sequence[Batch]) -> Iterator[list[Result]]:
        """Yield the results of each batch, in any order."""
        from distributed import as_completed

        futures = self._client.map(lambda batch: work(request, batch), batches, pure=False)
        for future in as_completed(futures):
            yield future.result()
            future.release()
