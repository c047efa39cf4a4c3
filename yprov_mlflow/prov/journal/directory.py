"""Where journals are: a folder for each run, with a file for each process that wrote to it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from yprov_mlflow.prov.ids import quote_key, unquote_key
from yprov_mlflow.prov.journal import codec
from yprov_mlflow.prov.journal.packs import Opener, PackedFile, Packs, is_continued
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


class _Entry(NamedTuple):
    """A journal: its size in bytes, why it is not read, and what opens its parts."""

    path: Path
    size: int
    reason: str | None
    parts: Sequence[Opener]


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
        self._directory = directory

    @classmethod
    def all(cls, directory: Path) -> Iterator[JournalDirectory]:
        """Yield the folders of all runs that have a journal, sorted by name."""
        names = set(Packs(directory).runs())
        with suppress(FileNotFoundError), os.scandir(directory / JOURNALS) as entries:
            names.update(entry.name for entry in entries if entry.is_dir())
        for name in sorted(names):
            yield cls(directory, unquote_key(name))

    def exists(self) -> bool:
        """Return whether the run has journals, in its folder or in a pack."""
        return self.path.is_dir() or bool(self.packed())

    def packed(self) -> Mapping[str, list[PackedFile]]:
        """Return the parts of the run's files in packs, by the name of the file."""
        return Packs(self._directory).run(self.path.name)

    def file(self, session: str) -> Path:
        """Return the path of the journal of a session."""
        return self.path / f"{session}{JOURNAL_SUFFIX}"

    def files(self) -> list[Path]:
        """Return the paths of all journals of the run, sorted by name."""
        return [self.path / name for name in self.sizes()]

    def sizes(self) -> dict[str, int]:
        """Return the size of every journal in bytes, by filename in order."""
        return {entry.path.name: entry.size for entry in self._entries() if entry.reason is None}

    def openers(self) -> dict[str, Sequence[Opener]]:
        """Return what opens the parts of each journal that is read, by filename in order."""
        return {entry.path.name: entry.parts for entry in self._entries() if entry.reason is None}

    def readers(self) -> tuple[list[JournalReader], list[Problem]]:
        """Return a reader for each journal, and a problem for each file that is not one."""
        problems: list[Problem] = []
        readers: dict[str, JournalReader] = {}
        entries = {entry.path: entry for entry in self._entries()}
        for session, unsaved in self.unsaved.items():
            path = self.file(session)
            if path not in entries or entries[path].reason is not None:
                readers[session] = JournalReader(path, session, unsaved)
        for path, entry in entries.items():
            reason, session = entry.reason, path.stem
            head = self._head(entry) if reason is None else None
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
                readers[session] = JournalReader(path, session, unsaved, entry.parts)
        for name, size in self.delivered().items():
            now = entries[self.path / name].size if self.path / name in entries else None
            if now is None or now < size:
                state = "is missing" if now is None else f"has only {now} of its {size} bytes"
                problems.append(Problem(self.path / name, 0, f"the journal {state}"))
        packs = Packs(self._directory)
        if damaged := packs.unreadable():
            lost = not entries or packs.may_lack(self.path.name)
            problems += [Problem(pack, 0, why, lost=lost) for pack, why in damaged.items()]
        return list(readers.values()), problems

    def store(self) -> str:
        """Return the URI of the run's store, as far as the heads of its journals say."""
        heads = (self._head(entry) for entry in self._entries())
        return next((head.store for head in heads if head and head.store), "")

    def _head(self, entry: _Entry) -> codec.Head | None:
        """Return the head of a journal, if it is readable."""
        try:
            with entry.parts[0]() as file:
                return codec.parse_head(file.readline(_MAX_HEAD).removesuffix(b"\n"))
        except (OSError, ValueError):  # the reader of the file reports it
            return None

    def _entries(self) -> list[_Entry]:
        """Return all files with our suffix, by name."""
        packed = self.packed()
        names = {path.name for path in self.path.glob(f"*{JOURNAL_SUFFIX}")}
        names.update(name for name in packed if name.endswith(JOURNAL_SUFFIX))
        entries = (self._entry(self.path / name, packed.get(name, ())) for name in sorted(names))
        return [entry for entry in entries if entry is not None]

    def _entry(self, path: Path, packed: Sequence[PackedFile]) -> _Entry | None:
        """Return a journal, part of which may be packed; None if it has just been removed."""
        reason, size = None, 0
        parts: list[Opener] = [file.open for file in packed]
        try:
            status = path.lstat()
        except FileNotFoundError:
            if not packed:
                return None
        else:
            reason, size = reason_to_refuse(status, self.path), status.st_size
            open_file = partial(open_regular, path)
            # A process that still had the file open has written it again, or packing it was
            # interrupted before the file was removed.
            if reason is None and packed and is_continued(parts, open_file):
                packed, parts = (), []
            parts.append(open_file)
        return _Entry(path, size + sum(file.size for file in packed), reason, parts)

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
        return (self.path / BY_CLIENT).exists() or BY_CLIENT in self.packed()

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

    def delivered_end(self) -> bool:
        """Return whether the run had ended when the document was last written."""
        return self._delivery()[2]

    def _delivery(self) -> tuple[dict[str, int], str, bool]:
        try:
            with self._open_mark(DELIVERED) as file:
                line = file.readline(_MAX_DELIVERED).removesuffix(b"\n")
            (sizes, store, *end), _ = codec.parse(line, codec.seed(self.run_id, DELIVERED))
        except (OSError, ValueError):  # a broken file only means another delivery
            return {}, "", False
        return sizes, store, end == [True]

    def mark_delivered(
        self, sizes: dict[str, int], store: str = "", *, ended: bool = False
    ) -> None:
        """Save the sizes of the journals that the document was made from, and its store.

        Journals only grow: one that lost bytes or is missing keeps the size it had, so that
        the loss is reported each time.
        """
        earlier = self.delivered()
        sizes = {
            name: max(sizes.get(name, 0), earlier.get(name, 0)) for name in {**earlier, **sizes}
        }
        value: Any = [sizes, store or self.delivered_store(), ended]
        self._write_mark(DELIVERED, codec.encode(value, codec.seed(self.run_id, DELIVERED)))

    def sent(self) -> dict[str, dict[str, int]]:
        """Return, by sink, the sizes that the journals had when the document was sent to it."""
        try:
            with self._open_mark(SENT) as file:
                sent = json.loads(file.read(_MAX_DELIVERED))
        except (OSError, ValueError):  # a broken file only means that it is sent again
            return {}
        return sent if isinstance(sent, dict) else {}

    def mark_sent(self, sink: str, sizes: dict[str, int]) -> None:
        """Save that a sink has the document that was made from journals of these sizes."""
        self._write_mark(SENT, json.dumps({**self.sent(), sink: sizes}).encode())

    def _open_mark(self, name: str) -> BinaryIO:
        """Open a small file of the run, in its folder or in a pack."""
        try:
            return open_regular(self.path / name)
        except FileNotFoundError:
            if name not in (packed := self.packed()):
                raise
            return packed[name][-1].open()

    def _write_mark(self, name: str, content: bytes) -> None:
        """Replace a small file of the run; readers see the old or the new one."""
        if self.packed():  # then the folder may be gone
            private_folder(self.path, self.root)
        incomplete = self.path / f"{name}.{os.getpid()}"
        incomplete.touch(PRIVATE_FILE)
        incomplete.write_bytes(content)
        incomplete.replace(self.path / name)

    def is_current(self) -> bool:
        """Return whether the last document contains everything in the journals."""
        delivered, sizes = self.delivered(), self.sizes()
        return bool(delivered) and all(size <= delivered.get(n, -1) for n, size in sizes.items())
