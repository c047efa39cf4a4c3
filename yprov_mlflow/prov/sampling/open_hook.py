"""Python's audit hook: what this process opens, renames, and when it changes its folder.

A hook cannot be removed. So there is one for each process, which does nothing without a listener.
Nothing in it may raise: the error would be that of the user's ``open``.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic_ns
from typing import Any, Protocol

from yprov_mlflow.prov.journal.writer import now_ns
from yprov_mlflow.prov.sampling.file_clock import file_clock_ns
from yprov_mlflow.prov.sampling.hashing_program import Signature

READ, WRITTEN = "read", "written"
UPDATED = "updated"
"""Opened for both; the file itself shows whether it was written."""

_FLAGS = {READ: os.O_RDONLY, WRITTEN: os.O_WRONLY | os.O_CREAT, UPDATED: os.O_RDWR}


class Listener(Protocol):
    """Receives what the process does, in the thread that does it, before it is done."""

    def opened(self, path: Any, mode: str | None, flags: int) -> None:
        """Note that a file is opened; ``mode`` is None for ``os.open``."""

    def opened_url(self, url: str, mode: str) -> None:
        """Note that something is opened that is not on this machine."""

    def renamed(self, source: Any, target: Any) -> None:
        """Note that a file is renamed."""

    def moved(self) -> None:
        """Note that the process changes its working folder."""


_NOT_PLAIN = os.O_RDONLY | os.O_WRONLY | os.O_RDWR | os.O_DIRECTORY
_WALL_NS = now_ns() - monotonic_ns()


@dataclass(eq=False, slots=True)
class Reads:
    """The reads of the only run that is watched, which the hook notes itself.

    Attributes:
        run_id: The run.
        owner: Returns the active run of the calling thread, None without one.
        openings: Receives the run, path, mode, time, time by the clock of file systems, and True.
        most: How many paths are noted; the listener gets the others.
        seen: Absolute paths that are noted.
        written: Files that the run has opened for writing, which need a closer look: when, and
            what they were before.
    """

    run_id: str
    owner: Callable[[], str | None]
    openings: deque[Any]
    most: int
    seen: set[str] = field(default_factory=set)
    written: dict[str, tuple[int, Signature | None]] = field(default_factory=dict)


class _Hook:
    """The one hook of this process."""

    listener: Listener | None = None
    reads: Reads | None = None
    installed = False


def listen(listener: Listener | None, reads: Reads | None = None) -> None:
    """Have a listener receive what happens from now on; None turns the hook off.

    Args:
        listener: The listener.
        reads: Receives plain reads by absolute paths instead of the listener.
    """
    _Hook.reads = reads
    _Hook.listener = listener
    if listener is not None and not _Hook.installed:
        _Hook.installed = True
        sys.addaudithook(_on_event)


def current() -> Listener | None:
    """Return the listener of this process."""
    return _Hook.listener


def note(path: str, mode: str, *, is_local: bool = True) -> None:
    """Note a file, or a URL, that a package opens past Python; never raise."""
    try:
        if (listener := _Hook.listener) is None:
            return
        if is_local:
            listener.opened(path, mode, _FLAGS[mode])
        else:
            listener.opened_url(path, READ if mode == READ else WRITTEN)
    except Exception:  # noqa: BLE001 - no error of ours may become one of the user's call
        return


def _on_event(event: str, arguments: tuple[Any, ...], hook: type[_Hook] = _Hook) -> None:
    # Called for each event of the interpreter, also while it ends and modules lose their names.
    try:
        listener = hook.listener
        if listener is None:
            return
        if event == "open":
            path, _, flags = arguments
            reads = hook.reads
            # A loop that loads data has emptied the caches of the processor, so that each function
            # and each object on the way of a file costs. The listener has the same in full.
            if (
                reads is not None
                and not flags & _NOT_PLAIN
                and type(path) is str
                and path.startswith("/")
                and path not in reads.written
                and len(reads.seen) < reads.most
            ):
                if path not in reads.seen:
                    active = reads.owner()
                    if active is None or active == reads.run_id:
                        reads.seen.add(path)
                        opened_ns = _WALL_NS + monotonic_ns()
                        reads.openings.append((reads, path, READ, opened_ns, file_clock_ns(), True))
                return
            listener.opened(*arguments)
        elif event == "os.rename":
            listener.renamed(arguments[0], arguments[1])
        elif event in ("os.chdir", "os.fchdir"):
            listener.moved()
    except Exception:  # noqa: BLE001 - no error of ours may become one of the user's open
        return
