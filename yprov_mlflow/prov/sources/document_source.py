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
    """Reads documents; each is passed on as it is, only in another format."""

    of_documents = True

    def __init__(self, location: str) -> None:
        self.location = self._path = location
        self.folder = location if os.path.isdir(location) else None
        self._problems: list[Problem] = []
        self._open: tuple[str, int, Iterator[Document]] = ("", 0, iter(()))
        self._digests: dict[str, str] = {}

    def __reduce__(self) -> Any:
        """Pickle the location only: each worker reads the documents itself."""
        return DocumentSource, (self._path,)

    def store(self) -> Mapping[str, str]:
        """Return the location: documents may be of several stores."""
        return {"uri": self.location}

    def runs(self) -> Iterator[RunRef]:
        """Yield a reference for each document, also for those of stores."""
        path = Path(self._path)
        for file in documents_below(path) if path.is_dir() else [path]:
            for number, document in enumerate(self._documents(str(file))):
                index = DocumentIndex(document)
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
                    f"{file}\n{number}",
                )

    def _documents(self, path: str) -> Iterator[Document]:
        try:
            yield from open_documents(Path(path))
        except (DocumentError, OSError) as error:
            self._problems.append(Problem(path, str(error), "the document"))

    def fingerprint(self, ref: RunRef) -> str:
        """Return a digest of the file's content."""
        path = ref.key.partition("\n")[0]
        if path not in self._digests:  # one file may have the documents of many runs
            with open(path, "rb") as file:
                self._digests[path] = hashlib.file_digest(file, "sha256").hexdigest()
        return self._digests[path]

    def document(self, ref: RunRef) -> tuple[Document, str]:
        """Return a document, and the folder that its metric file is in.

        Raises:
            StoreError: The file no longer has it.
        """
        path, _, number = ref.key.partition("\n")
        position = int(number)
        # Runs of one file come in order: the file is read on, and not from its start each time.
        if self._open[0] != path or self._open[1] > position:
            self._open = (path, 0, self._documents(path))
        _, next_position, documents = self._open
        document = next(itertools.islice(documents, position - next_position, None), None)
        self._open = (path, position + 1, documents)
        if document is None:
            raise StoreError("the document is missing now", path, "Repeat the conversion")
        return document, os.path.dirname(path)

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
        self._open = ("", 0, iter(()))
