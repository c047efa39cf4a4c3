"""Where units are converted: in this process, in several, or on a Dask cluster."""

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

from yprov_mlflow.prov.convert.request import Request
from yprov_mlflow.prov.convert.units import Result, Unit
from yprov_mlflow.prov.convert.worker import work
from yprov_mlflow.prov.errors import MissingExtraError, StoreError
from yprov_mlflow.prov.sources.source import Problem

Batch = Sequence[Unit]


class Executor(Protocol):
    """Converts batches of units; ``count`` of them at a time."""

    count: int

    def map(self, request: Request, batches: Sequence[Batch]) -> Iterator[list[Result]]:
        """Give the results of each batch, in any order."""


class InlineExecutor:
    """Converts in this process, one unit at a time."""

    count = 1

    def map(self, request: Request, batches: Sequence[Batch]) -> Iterator[list[Result]]:
        """Give the results of each batch."""
        return (work(request, batch) for batch in batches)


class ProcessExecutor:
    """Converts in processes of their own, which end with this one, however it ends.

    A unit that kills its process (out of memory, say) fails alone: the units of its batch are
    tried again one by one.
    """

    def __init__(self, count: int) -> None:
        """Say how many processes."""
        self.count = count

    def map(self, request: Request, batches: Sequence[Batch]) -> Iterator[list[Result]]:
        """Give the results of each batch, in any order."""
        lost: list[Unit] = []
        ahead = list(reversed(batches))
        while ahead:
            try:
                yield from self._map(request, ahead, lost)
            except BrokenProcessPool:
                continue
        for unit in lost:
            try:
                yield from self._map(request, [[unit]], [])
            except BrokenProcessPool:
                place = f"{request.source}, {unit.key}"
                problem = Problem(place, "its conversion killed the process", "all of it")
                yield [Result(unit.key, "failed", problems=(problem,))]

    def _map(
        self, request: Request, ahead: list[Batch], lost: list[Unit]
    ) -> Iterator[list[Result]]:
        """Work on batches from the end of ``ahead``; what a broken process had is ``lost``."""
        spawn = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(self.count, spawn, initializer=_begin)
        running: dict[Future[list[Result]], Batch] = {}
        try:
            while ahead or running:
                while ahead and len(running) < 2 * self.count:
                    with _undisturbed():
                        running[pool.submit(work, request, ahead[-1])] = ahead[-1]
                    ahead.pop()  # not before: where a process has just died, nothing is submitted
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    results = future.result()
                    del running[future]
                    yield results
        finally:
            for batch in running.values():
                lost.extend(batch)
            pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Hold interrupts back; processes that start meanwhile leave them to this one for good."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin() -> None:
    """End when the parent does, however that ends."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


class DaskExecutor:
    """Converts on a Dask cluster, whose workers see the same folders as this process."""

    def __init__(self, address: str) -> None:
        """Connect to the scheduler at ``address``, such as ``tcp://host:8786``.

        Raises:
            MissingExtraError: Dask is not installed.
            StoreError: Nobody answers at the address.
        """
        try:
            from distributed import Client
        except ImportError as error:
            raise MissingExtraError.of("dask", "dask", "conversion on a cluster") from error
        try:
            self._client = Client(address, timeout="10s")
        except (OSError, ValueError) as error:  # the latter of what is no address
            raise StoreError.no_scheduler(address, str(error)) from error
        self.count = max(1, sum(self._client.nthreads().values()))

    def map(self, request: Request, batches: Sequence[Batch]) -> Iterator[list[Result]]:
        """Give the results of each batch, in any order."""
        from distributed import as_completed

        futures = self._client.map(lambda batch: work(request, batch), batches, pure=False)
        for future in as_completed(futures):
            yield future.result()
            future.release()
