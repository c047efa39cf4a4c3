"""Sinks of other packages: where the document of a finished run goes besides its artifacts.

They are in the entry-point group ``yprov_mlflow.prov.sinks``, and the setting ``sinks`` names
those to use. A sink may fail, hang or be slow: a daemon thread calls it after the document is
among the artifacts, no run waits for it, and ``recover`` sends what it has not got.
"""

from __future__ import annotations

import contextlib
import functools
import queue
import shutil
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from yprov_mlflow.prov import plugins
from yprov_mlflow.prov.errors import PluginError, first_line
from yprov_mlflow.prov.journal import JournalDirectory
from yprov_mlflow.prov.redaction import redact

EXIT_TIMEOUT_S = 5.0  # how long the exit of a process waits for sinks

CHECK = plugins.has_functions("send")


class Delivery(NamedTuple):
    """The document of a finished run.

    Args:
        run_id: The run.
        tracking_uri: The store of the run, without a password; empty if unknown.
        document: The document, as PROV-JSON.
        files: The document and its metric file, if it has one. They exist during the call.
    """

    run_id: str
    tracking_uri: str
    document: Path
    files: tuple[Path, ...]


class SinkPlugin(Protocol):
    """The contract: a module or object with this function."""

    def send(self, delivery: Delivery) -> None:
        """Send a document; an exception means that ``recover`` tries again.

        A document may come again, when its run was resumed or the answer was lost.
        """


def pending(folder: JournalDirectory, sinks: Sequence[str]) -> list[str]:
    """Return the sinks that have not got the current document of a run."""
    sizes = folder.delivered()
    return [name for name in sinks if folder.sent().get(name) != sizes]


def send(folder: JournalDirectory, delivery: Delivery, sinks: Sequence[str]) -> Iterator[str]:
    """Send the current document of a run to sinks, and yield a sentence for each failure."""
    sizes = folder.delivered()
    for name in sinks:
        try:
            _load(name).send(delivery)
        except PluginError as error:
            yield str(error)
        except Exception as error:  # noqa: BLE001 - other people's code can raise anything
            reason = redact(f"{type(error).__name__}: {first_line(error)}")
            yield f"the sink {name!r} failed ({reason})."
        else:
            # Without the mark, recover sends the document again.
            with contextlib.suppress(OSError):
                folder.mark_sent(name, sizes)


# Looking for entry points reads the metadata of all packages: 5 ms for each run.
@functools.cache
def _load(name: str) -> SinkPlugin:
    plugin: SinkPlugin | None = plugins.load(plugins.SINKS, name, CHECK)
    if plugin is None:
        raise PluginError.unknown("sink", name, plugins.names(plugins.SINKS))
    return plugin


class Outbox:
    """A daemon thread that sends documents, each from a copy of its files.

    Args:
        sinks: The names of the sinks.
    """

    def __init__(self, sinks: Sequence[str]) -> None:
        self._sinks = sinks
        self._jobs: queue.SimpleQueue[tuple[JournalDirectory, Delivery]] = queue.SimpleQueue()
        self._count = 0
        self._idle = threading.Condition()
        threading.Thread(target=self._work, name="yprov-sinks", daemon=True).start()

    def put(self, folder: JournalDirectory, delivery: Delivery) -> None:
        """Have a document sent; this copies its files and returns.

        Raises:
            OSError: The files cannot be copied; ``recover`` sends the document.
        """
        copy = Path(tempfile.mkdtemp(prefix="yprov-sink-"))
        files = tuple(Path(shutil.copy(file, copy)) for file in delivery.files)
        document = copy / delivery.document.name
        with self._idle:
            self._count += 1
        self._jobs.put((folder, delivery._replace(document=document, files=files)))

    def finish(self) -> None:
        """Wait for documents that are being sent, but not for long."""
        with self._idle:
            if not self._idle.wait_for(lambda: not self._count, EXIT_TIMEOUT_S):
                plugins.warn_once(
                    f"{self._count} documents are not at {', '.join(self._sinks)} yet, as a sink "
                    "does not answer or is slow. `yprov-mlflow recover` sends them."
                )

    def _work(self) -> None:
        while True:
            folder, delivery = self._jobs.get()
            for failure in send(folder, delivery, self._sinks):
                plugins.warn_once(
                    f"{failure[:1].upper()}{failure[1:]} The run and its artifacts are complete. "
                    "Once the cause is removed, `yprov-mlflow recover` sends the documents."
                )
            shutil.rmtree(delivery.document.parent, ignore_errors=True)
            with self._idle:
                self._count -= 1
                self._idle.notify_all()
