"""The index on disk: one graph of many documents, which several processes read and write.

RocksDB, below pyoxigraph, lets one process write, and nothing may be opened meanwhile. So a process
writes in short turns, each under a lock, which a reader only needs to open the graph. A document
is complete once its digest is noted: a process that is killed before leaves a document that the
next one replaces.
"""

from __future__ import annotations

import hashlib
import operator
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import NamedTuple, TypeVar

import pyoxigraph
from filelock import FileLock, Timeout
from pyoxigraph import Literal, NamedNode, Quad, RdfFormat

from yprov_mlflow.prov.errors import DocumentError, GraphError
from yprov_mlflow.prov.formats import prov_json
from yprov_mlflow.prov.formats.bundles import name_of
from yprov_mlflow.prov.formats.rdf.turtle import N_QUADS
from yprov_mlflow.prov.graph import handover
from yprov_mlflow.prov.graph.run_rows import DIGEST, MARKS, ROWS, rows_of
from yprov_mlflow.prov.graph.stores import DAMAGE, LocalGraph
from yprov_mlflow.prov.layout import GRAPH, INDEX_LOCK, private_folder
from yprov_mlflow.prov.model.document import Document

TURN_BYTES = 2**26  # of N-Quads in one turn: some seconds, and half a GB of memory
LOCK_TIMEOUT_S = 60.0  # how long a process waits for its turn
DRAIN_TIMEOUT_S = 5.0  # how long a question waits to add the documents that wait
_BULK_BYTES = 2**22  # from here on, loading without a transaction is faster

_Result = TypeVar("_Result")


class Update(NamedTuple):
    """The result of adding documents to the index."""

    added: int = 0
    unchanged: int = 0
    records: int = 0  # of the documents that were added
    problems: tuple[str, ...] = ()

    def plus(self, other: Update) -> Update:
        """Return the sum of two results."""
        return Update(*map(operator.add, self, other))


class Content(NamedTuple):
    """A document as the index stores it."""

    graph: NamedNode
    digest: str
    n_quads: bytes
    records: int
    rows: str


class _Batch:
    """Documents that are written in one turn."""

    def __init__(self) -> None:
        self.contents: list[Content] = []
        self.replaced: list[NamedNode] = []
        self.unchanged = 0
        self.size = 0

    def append(self, content: Content, *, replaces: bool) -> None:
        """Add a document, which may replace the one that had its name before."""
        self.contents.append(content)
        self.size += len(content.n_quads)
        if replaces:
            self.replaced.append(content.graph)

    def update(self) -> Update:
        """Return the result of writing it."""
        records = sum(content.records for content in self.contents)
        return Update(len(self.contents), self.unchanged, records)


class IndexFolder:
    """An index; creating the object touches no disk.

    Args:
        folder: Its folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.place = str(folder)

    def graph(self) -> LocalGraph:
        """Return the graph as it is now; others may write to it afterwards.

        Raises:
            GraphError: It does not exist, is damaged, or others write to it all the time.
        """
        path = self.folder / GRAPH
        if not path.is_dir():
            cure = "Make one with: yprov-mlflow index PATH|URI, or name documents with --from"
            raise GraphError("there is no index yet", str(self.folder), cure)
        # Once it is open, the files of a reader stay as they are.
        with self.locked(LOCK_TIMEOUT_S):
            return LocalGraph.open(path)

    def digests(self) -> dict[str, list[str]]:
        """Return the digests of the documents in the index by the IRI of their graph."""
        digests: dict[str, list[str]] = {}
        if (self.folder / GRAPH).is_dir():
            for quad in self.graph().store.quads_for_pattern(None, DIGEST, None, MARKS):
                assert isinstance(quad.subject, NamedNode) and isinstance(quad.object, Literal)
                digests.setdefault(quad.subject.value, []).append(quad.object.value)
        return digests

    def add(
        self,
        documents: Iterable[Document],
        on_turn: Callable[[Update], None] = lambda _: None,
    ) -> Update:
        """Add documents; each replaces the one that had its name before.

        Several documents of one name in one call are one: parts of a run from several machines.

        Args:
            documents: The documents.
            on_turn: Is called with the result so far, after each turn.

        Raises:
            GraphError: Another process has not let this one write, or the index is damaged.
        """
        result = Update()
        for update in self._written(_batches_of(documents, self.digests())):
            result = result.plus(update)
            on_turn(result)
        return result

    def _written(self, batches: Iterable[_Batch]) -> Iterator[Update]:
        """Write each batch while the caller's thread makes the next one; yield the results."""
        with ThreadPoolExecutor(1) as aside:
            turn: Future[Update] | None = None
            for batch in batches:
                if turn is not None:
                    yield turn.result()
                turn = aside.submit(self._turn, batch)
            if turn is not None:
                yield turn.result()

    def _turn(self, batch: _Batch) -> Update:
        if batch.contents:
            self._in_turn(LOCK_TIMEOUT_S, lambda store: _write(store, batch))
        return batch.update()

    def drain(self, timeout_s: float = DRAIN_TIMEOUT_S) -> Update:
        """Add the documents that wait; if others write for longer than this, they still wait.

        Raises:
            GraphError: The index is damaged, or its folder cannot be written.
        """
        if not handover.waiting(self.folder):
            return Update()
        try:
            return self._in_turn(timeout_s, self._add_waiting)
        except Timeout:
            problem = (
                f"{handover.waiting(self.folder)} documents are not in the index yet, as another "
                "process writes to it; ask again later"
            )
            return Update(problems=(problem,))

    def _add_waiting(self, store: pyoxigraph.Store) -> Update:
        problems: list[str] = []
        result = Update()
        for files in _groups(handover.take(self.folder)):
            batch = _Batch()
            for file in files:
                if (content := waiting_content(file, problems)) is not None:
                    batch.append(content, replaces=True)
            _write(store, batch)
            store.flush()
            result = result.plus(batch.update())
            for file in files:
                file.unlink(missing_ok=True)
        return result._replace(problems=tuple(problems))

    def remove(self, graphs: Iterable[str]) -> int:
        """Remove documents by the IRIs of their graphs, and return how many there were."""
        known = self.digests()
        chosen = [NamedNode(iri) for iri in graphs if iri in known]
        self._in_turn(LOCK_TIMEOUT_S, lambda store: _remove(store, chosen))
        return len(chosen)

    def clear(self) -> None:
        """Remove the graph, also a damaged one; documents that wait stay.

        Raises:
            GraphError: Another process writes to it, or the folder cannot be removed.
        """
        try:
            with self.locked(LOCK_TIMEOUT_S):
                shutil.rmtree(self.folder / GRAPH, ignore_errors=False)
        except FileNotFoundError:
            return
        except OSError as error:
            raise GraphError.unwritable(str(self.folder), error) from error

    @contextmanager
    def locked(self, timeout_s: float) -> Iterator[None]:
        """Hold the lock of the index.

        Raises:
            Timeout: Others hold it for longer than a short timeout.
            GraphError: Others hold it for longer than ``LOCK_TIMEOUT_S``.
        """
        try:
            private_folder(self.folder, self.folder)
            with FileLock(str(self.folder / INDEX_LOCK), timeout=timeout_s):
                yield
        except Timeout as error:
            if timeout_s < LOCK_TIMEOUT_S:
                raise
            raise GraphError.busy(str(self.folder), timeout_s) from error

    def _in_turn(self, timeout_s: float, work: Callable[[pyoxigraph.Store], _Result]) -> _Result:
        """Write to the store in a turn of this process."""
        with self.locked(timeout_s):
            try:
                store = pyoxigraph.Store(str(self.folder / GRAPH))
            except DAMAGE as error:
                raise GraphError.damaged(str(self.folder), error) from error
            try:
                result = work(store)
                store.flush()
            except DAMAGE as error:
                raise GraphError.unwritable(str(self.folder), error) from error
            finally:
                del store  # pyoxigraph closes a store with its last reference
            return result


def content_of(document: Document) -> Content:
    """Return a document as the index stores it."""
    stream = BytesIO()
    N_QUADS.dump([document], stream)
    n_quads = stream.getvalue()
    records = sum(map(len, document.records.values()))
    digest = hashlib.sha256(n_quads).hexdigest()
    return Content(NamedNode(name_of(document).iri), digest, n_quads, records, rows_of(document))


def waiting_content(file: Path, problems: list[str]) -> Content | None:
    """Return the content of a file that waits; a damaged one is a problem and is removed."""
    try:
        return content_of(prov_json.loads(handover.content(file)))
    except (OSError, EOFError, DocumentError) as error:
        problems.append(f"{file.name}: the document cannot be read, and is not indexed: {error}")
        return None


def _batches_of(
    documents: Iterable[Document], indexed: Mapping[str, Collection[str]]
) -> Iterator[_Batch]:
    """Yield documents in batches of ``TURN_BYTES``; the first of a name replaces those there."""
    batch = _Batch()
    seen: set[NamedNode] = set()
    for document in documents:
        content = content_of(document)
        if content.digest in indexed.get(content.graph.value, ()):
            batch.unchanged += 1
        else:
            batch.append(content, replaces=content.graph not in seen)
        seen.add(content.graph)
        if batch.size >= TURN_BYTES:
            yield batch
            batch = _Batch()
    yield batch


def _groups(files: Iterable[Path]) -> Iterator[list[Path]]:
    """Yield files in groups whose documents are as many as one turn takes."""
    batch: list[Path] = []
    size = 0
    for file in files:
        batch.append(file)
        size += file.stat().st_size * 40  # N-Quads to compressed PROV-JSON, about
        if size >= TURN_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _write(store: pyoxigraph.Store, batch: _Batch) -> None:
    _remove(store, batch.replaced)
    n_quads = b"".join(content.n_quads for content in batch.contents)
    if len(n_quads) >= _BULK_BYTES:
        store.bulk_load(n_quads, RdfFormat.N_QUADS)
    else:
        store.load(n_quads, RdfFormat.N_QUADS)
    store.extend(Quad(c.graph, ROWS, Literal(c.rows), MARKS) for c in batch.contents)
    store.extend(Quad(c.graph, DIGEST, Literal(c.digest), MARKS) for c in batch.contents)


def _remove(store: pyoxigraph.Store, graphs: Iterable[NamedNode]) -> None:
    for graph in graphs:
        # The digest goes first: without it, a document that is half removed is replaced.
        for mark in (DIGEST, ROWS):
            for quad in list(store.quads_for_pattern(graph, mark, None, MARKS)):
                store.remove(quad)
        if store.contains_named_graph(graph):
            store.remove_graph(graph)
