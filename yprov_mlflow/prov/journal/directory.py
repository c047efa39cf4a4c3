"""Where journals are: a folder for each run, with a file for each process that wrote to it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from yprov_mlflow.prov.ids import quote_key, unquote_key
from yprov_mlflow.prov.journal import codec
from yprov_mlflow.prov.journal.reader import JournalReader, Problem, open_regular, reason_to_refuse
from yprov_mlflow.prov.layout import (
    BY_CLIENT,
    DELIVERED,
    DELIVERY_LOCK,
    DELIVERY_REQUEST,
    JOURNAL_SUFFIX,
    JOURNALS,
    PRIVATE_FILE,
    SENT,
    private_folder,
)

_SESSION = re.compile("[0-9a-f]{16}")  # see ``ids.session_token``
_MAX_HEAD = 2**16
_MAX_DELIVERED = 2**24


class JournalDirectory:
    """The journals of one run, or of the events that belong to a store (see ``ids.store_id``).

    Args:
        directory: State folder.
        run_id: Run, or id of the store. Creating the object touches no disk.
        unsaved: By session, the bytes that this process could not write to its journal.
        root: The user's state folder, if ``directory`` is the one of a server in it.
    """

    def __init__(
        self,
        directory: Path,
        run_id: str,
        unsaved: Mapping[str, bytes] | None = None,
        root: Path | None = None,
    ) -> None:
        self.directory = directory
        self.run_id = run_id
        self.unsaved = unsaved or {}
        self.root = root or directory
        # Dots are quoted, too: a run with the id ".." must not lead out of the folder.
        self.path = directory / JOURNALS / quote_key(run_id).replace(".", "%2E")

    @classmethod
    def all(cls, directory: Path) -> Iterator[JournalDirectory]:
        """Yield the folders of all runs that have a journal, sorted by name."""
        try:
            names = sorted(entry.name for entry in os.scandir(directory / JOURNALS))
        except FileNotFoundError:
            return
        for name in names:
            folder = cls(directory, unquote_key(name))
            if folder.path.is_dir():
                yield folder

    def file(self, session: str) -> Path:
        """Return the path of the journal of a session."""
        return self.path / f"{session}{JOURNAL_SUFFIX}"

    def files(self) -> list[Path]:
        """Return the paths of all journals of the run, sorted by name."""
        return [self.path / name for name in self.sizes()]

    def sizes(self) -> dict[str, int]:
        """Return the size of every journal in bytes, by filename in order."""
        return {path.name: size for path, size, reason in self._entries() if reason is None}

    def readers(self) -> tuple[list[JournalReader], list[Problem]]:
        """Return a reader for each journal, and a problem for each file that is not one."""
        problems: list[Problem] = []
        readers: dict[str, JournalReader] = {}
        entries = {path: (size, reason) for path, size, reason in self._entries()}
        for session, unsaved in self.unsaved.items():
            path = self.file(session)
            if path not in entries or entries[path][1] is not None:
                readers[session] = JournalReader(path, session, unsaved)
        for path, (_, reason) in entries.items():
            head = self._head(path) if reason is None else None
            session = path.stem
            if head is not None and head.session != session:
                # A renamed journal is read; of a copy, nothing is.
                if head.session in readers or self.file(head.session) in entries:
                    reason = f"it is a copy of {head.session}{JOURNAL_SUFFIX}, and is not read"
                session = head.session
            if head is not None and head.run_id != self.run_id:
                reason = f"it is the journal of run {head.run_id!r}, and is not read"
            if reason is not None:
                # Under the name of a session it has replaced a journal.
                lost = _SESSION.fullmatch(path.stem) is not None and path.stem not in readers
                problems.append(Problem(path, 0, reason, lost=lost))
            else:
                unsaved = self.unsaved.get(session, b"")
                readers[session] = JournalReader(path, session, unsaved)
        for name, size in self.delivered().items():
            now, _ = entries.get(self.path / name, (None, None))
            if now is None or now < size:
                state = "is missing" if now is None else f"has only {now} of its {size} bytes"
                problems.append(Problem(self.path / name, 0, f"the journal {state}"))
        return list(readers.values()), problems

    def store(self) -> str:
        """Return the URI of the run's store, as far as the heads of its journals say."""
        heads = (self._head(path) for path in self.files())
        return next((head.store for head in heads if head and head.store), "")

    def _head(self, path: Path) -> codec.Head | None:
        """Return the head of a file, if it is readable."""
        try:
            with open_regular(path) as file:
                return codec.parse_head(file.readline(_MAX_HEAD).removesuffix(b"\n"))
        except (OSError, ValueError):  # the reader of the file reports it
            return None

    def _entries(self) -> list[tuple[Path, int, str | None]]:
        """Return path and size of all files with our suffix, and why one is not read, by name."""
        entries = []
        for path in sorted(self.path.glob(f"*{JOURNAL_SUFFIX}")):
            try:
                status = path.lstat()
            except FileNotFoundError:
                continue
            entries.append((path, status.st_size, reason_to_refuse(status, self.path)))
        return entries

    @property
    def lock(self) -> Path:
        """The file to lock while the run's document is written."""
        return self.path / DELIVERY_LOCK

    def request_document(self) -> bool:
        """Ask the process that holds the lock for another document; return whether that worked."""
        try:
            (self.path / DELIVERY_REQUEST).touch(PRIVATE_FILE)
        except OSError:
            return False
        return True

    def is_document_requested(self) -> bool:
        """Return whether a process asks for a document that has its events."""
        return (self.path / DELIVERY_REQUEST).exists()

    def take_request(self) -> None:
        """Note that the document is written now, from the journals as they are from now on."""
        (self.path / DELIVERY_REQUEST).unlink(missing_ok=True)

    def is_by_client(self) -> bool:
        """Return whether the client of this server's run delivers the document itself."""
        return (self.path / BY_CLIENT).exists()

    def mark_by_client(self) -> None:
        """Note for all workers of a server that the run's client delivers the document itself."""
        private_folder(self.path, self.root)
        (self.path / BY_CLIENT).touch(PRIVATE_FILE)

    def delivery_time_ns(self) -> int:
        """Return when the document was last written, by the clock of the folder; 0 if never."""
        try:
            return (self.path / DELIVERED).stat().st_mtime_ns
        except OSError:
            return 0

    def delivered(self) -> dict[str, int]:
        """Return the sizes that the journals had when the document was last written."""
        return self._delivery()[0]

    def delivered_store(self) -> str:
        """Return the URI of the store that has the document."""
        return self._delivery()[1]

    def _delivery(self) -> tuple[dict[str, int], str]:
        try:
            with open_regular(self.path / DELIVERED) as file:
                line = file.readline(_MAX_DELIVERED).removesuffix(b"\n")
            (sizes, store), _ = codec.parse(line, codec.seed(self.run_id, DELIVERED))
        except (OSError, ValueError):  # a broken file only means another delivery
            return {}, ""
        return sizes, store

    def mark_delivered(self, sizes: dict[str, int], store: str = "") -> None:
        """Save the sizes of the journals that the document was made from, and its store.

        Journals only grow: one that lost bytes or is missing keeps the size it had, so that
        the loss is reported each time.
        """
        earlier = self.delivered()
        sizes = {
            name: max(sizes.get(name, 0), earlier.get(name, 0)) for name in {**earlier, **sizes}
        }
        value: Any = [sizes, store or self.delivered_store()]
        partial = self.path / f"{DELIVERED}.{os.getpid()}"
        partial.touch(PRIVATE_FILE)
        partial.write_bytes(codec.encode(value, codec.seed(self.run_id, DELIVERED)))
        partial.replace(self.path / DELIVERED)  # atomic: readers see the old or the new sizes

    def sent(self) -> dict[str, dict[str, int]]:
        """Return, by sink, the sizes that the journals had when the document was sent to it."""
        try:
            with open_regular(self.path / SENT) as file:
                sent = json.loads(file.read(_MAX_DELIVERED))
        except (OSError, ValueError):  # a broken file only means that it is sent again
            return {}
        return sent if isinstance(sent, dict) else {}

    def mark_sent(self, sink: str, sizes: dict[str, int]) -> None:
        """Save that a sink has the document that was made from journals of these sizes."""
        partial = self.path / f"{SENT}.{os.getpid()}"
        partial.touch(PRIVATE_FILE)
        partial.write_text(json.dumps({**self.sent(), sink: sizes}))
        partial.replace(self.path / SENT)

    def is_current(self) -> bool:
        """Return whether the last document contains everything in the journals."""
        delivered, sizes = self.delivered(), self.sizes()
        return bool(delivered) and all(size <= delivered.get(n, -1) for n, size in sizes.items())
