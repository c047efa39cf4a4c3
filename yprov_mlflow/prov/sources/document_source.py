"""Documents as a source: files that this package wrote, in any format, and folders of them."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from yprov_mlflow.prov.errors import DocumentError, StoreError
from yprov_mlflow.prov.events import Event
from yprov_mlflow.prov.formats import open_documents
from yprov_mlflow.prov.formats.file_formats import documents_below
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.sources.source import Problem, RunRef, Source
from yprov_mlflow.prov.translate.inverse.document_index import DocumentIndex, attribute, key, names

_EXPERIMENT = "store:experiment/"


class DocumentSource(Source):
    """Reads documents; each is passed on as it is, only in another format.

    Args:
        path: A document, or a folder of documents.
        location: Where they come from, if this is a copy.
    """

    of_documents = True

    def __init__(self, path: str, location: str | None = None) -> None:
        self._path = path
        self.location = location or path
        self.folder = path if os.path.isdir(path) else None
        self._problems: list[Problem] = []
        self._open: tuple[Path | None, int, Iterator[Document]] = (None, 0, iter(()))
        self._digests: dict[Path, str] = {}

    def __reduce__(self) -> Any:
        """Pickle the location only: each worker reads the documents itself."""
        return DocumentSource, (self._path, self.location)

    def store(self) -> Mapping[str, str]:
        """Return the location: documents may be of several stores."""
        return {"uri": self.location}

    def runs(self) -> Iterator[RunRef]:
        """Yield a reference for each document, also for those of stores."""
        path = Path(self._path)
        for file in documents_below(path) if path.is_dir() else [path]:
            # Relative, so that a copy elsewhere has the same keys.
            relative = file.relative_to(path if path.is_dir() else path.parent).as_posix()
            for number, document in enumerate(self._documents(file)):
                index = self._index(document, file)
                if index is None:
                    continue
                run = index.run or {}
                parts = names(run, "dcterms:isPartOf")
                experiment = next((p for p in parts if p.startswith(_EXPERIMENT)), "")
                name = attribute(index.entities.get(experiment, {}), "schema:name")
                status = attribute(run, "mlf:status")
                yield RunRef(
                    index.run_id,
                    key(experiment.removeprefix(_EXPERIMENT)) if experiment else "store",
                    None if name is None else str(name),
                    None if status is None else str(status).removeprefix("mlf:"),
                    attribute(run, "mlf:startTimeMs"),
                    "active",
                    f"{relative}#{number}",
                )

    def _documents(self, path: Path) -> Iterator[Document]:
        try:
            yield from open_documents(path)
        except (DocumentError, OSError) as error:
            self._problems.append(Problem(str(path), str(error), "the document"))

    def _index(self, document: Document, path: Path) -> DocumentIndex | None:
        """Return the index of a document, None with a problem if it is of another program."""
        try:
            return DocumentIndex(document)
        except DocumentError as error:
            self._problems.append(Problem(str(path), str(error), "the document"))
            return None

    def _file(self, ref: RunRef) -> tuple[Path, int]:
        """Return the file of a document, and the number of the document in it."""
        relative, _, number = ref.key.rpartition("#")
        return Path(self.folder or os.path.dirname(self._path), relative), int(number)

    def fingerprint(self, ref: RunRef) -> str:
        """Return a digest of the file's content."""
        path, _ = self._file(ref)
        if path not in self._digests:  # one file may have the documents of many runs
            with path.open("rb") as file:
                self._digests[path] = hashlib.file_digest(file, "sha256").hexdigest()
        return self._digests[path]

    def document(self, ref: RunRef) -> tuple[Document, Path]:
        """Return a document, and the folder that its metric file is in.

        Raises:
            StoreError: The file no longer has it.
        """
        path, position = self._file(ref)
        # Runs of one file come in order: the file is read on, and not from its start each time.
        if self._open[0] != path or self._open[1] > position:
            self._open = (path, 0, self._documents(path))
        _, next_position, documents = self._open
        document = next(itertools.islice(documents, position - next_position, None), None)
        self._open = (path, position + 1, documents)
        if document is None:
            what, cure = "the document is missing now", "Repeat the conversion"
            raise StoreError(what, str(path), cure)
        return document, path.parent

    def events(self, ref: RunRef) -> Iterator[Event]:
        """Yield nothing: see ``document``."""
        return iter(())

    def store_events(self) -> Iterator[Event]:
        """Yield nothing: documents of stores are among ``runs``."""
        return iter(())

    def problems(self) -> list[Problem]:
        """Return the problems since the last call, and clear them."""
        problems, self._problems = self._problems, []
        return problems

    def close(self) -> None:
        """Close the file that is being read."""
        self._open = (None, 0, iter(()))
