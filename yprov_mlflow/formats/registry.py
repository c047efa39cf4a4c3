"""All formats by name, and files of whichever format."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

from yprov_mlflow.errors import DocumentError
from yprov_mlflow.formats.faults import no_format
from yprov_mlflow.translate import Document

_HEAD = 4096
"""Bytes at the start of a file that tell what it holds."""


@dataclasses.dataclass(frozen=True)
class Format:
    """A way to write documents, and to read them back.

    Args:
        name: What users call it.
        suffix: End of the names of its files, with the dot.
        media_type: Its registered media type, or the one in use.
        many: Whether one file can hold several documents, each under a name of its own.
        module: Module of this package that does it.
    """

    name: str
    suffix: str
    media_type: str
    many: bool
    module: str = dataclasses.field(repr=False)

    def dump(
        self, documents: Iterable[Document], stream: BinaryIO, *, single: bool | None = None
    ) -> None:
        """Write documents one after another; only one of them is in memory at a time.

        Args:
            documents: The documents.
            stream: Takes the bytes; equal documents always give equal bytes.
            single: There is one document, to be written flat; else each becomes a bundle or
                a named graph, however many there are. By default what the format can. RDF
                that has graphs always names them, so that files can be put together.

        Raises:
            UsageError: There is not one document, where there can only be one.
            DocumentError: The format cannot hold what a document has.
        """
        flat = not self.many if single is None else single or not self.many
        self._codec().dump(documents, stream, single=flat)

    def load(self, stream: BinaryIO) -> Iterator[Document]:
        """Read documents: each bundle or graph is one, and what lies outside of any.

        Raises:
            DocumentError: The bytes are none of this format, or not of PROV.
        """
        found: Iterator[Document] = self._codec().load(stream)
        return found

    def _codec(self) -> Any:
        return import_module(f"{__package__}.{self.module}")


FORMATS: Mapping[str, Format] = {
    one.name: one
    for one in (
        Format("prov-json", ".json", "application/json", True, "prov_json"),
        Format("prov-n", ".provn", "text/provenance-notation", True, "prov_n"),
        Format("prov-xml", ".xml", "application/provenance+xml", True, "prov_xml"),
        Format("turtle", ".ttl", "text/turtle", False, "rdf.turtle"),
        Format("trig", ".trig", "application/trig", True, "rdf.trig"),
        Format("n-quads", ".nq", "application/n-quads", True, "rdf.n_quads"),
        Format("json-ld", ".jsonld", "application/ld+json", True, "rdf.json_ld"),
    )
}
"""All formats by name."""

_SUFFIXES = {one.suffix: one for one in FORMATS.values()} | {
    ".nt": FORMATS["n-quads"],
    ".provx": FORMATS["prov-xml"],
}


def open_documents(path: Path) -> Iterator[Document]:
    """Read the documents of a file, of whatever format it is.

    Args:
        path: The file; it is closed after the last document.

    Raises:
        DocumentError: The file has no format that is known, or is not what it seems to be.
        OSError: The file cannot be opened.
    """
    with path.open("rb") as stream:
        head = stream.read(_HEAD)
        stream.seek(0)
        found = _format_of(path, head)
        try:
            yield from found.load(stream)
        except DocumentError as error:
            error.where = f"{path}, {error.where}" if error.where else str(path)
            raise


def _format_of(path: Path, head: bytes) -> Format:
    """Give the format of a file by its name or, where that says too little, by its start."""
    found = _SUFFIXES.get(path.suffix.lower())
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if found is not None and found.name != "prov-json":
        return found
    if start[:1] in (b"{", b"["):
        linked = start[:1] == b"[" or b'"@context"' in head or b'"@graph"' in head
        return FORMATS["json-ld" if linked else "prov-json"]
    if found is not None or not start:
        return found or FORMATS["prov-json"]
    lowered = start.lower()
    if lowered.startswith(b"document"):
        return FORMATS["prov-n"]
    if lowered.startswith(b"<?xml") or b'http://www.w3.org/ns/prov#"' in head[:1024]:
        return FORMATS["prov-xml"]
    if lowered.startswith((b"@prefix", b"@base", b"prefix", b"base")):
        return FORMATS["trig"]
    if start[:1] in (b"<", b"_", b"#"):
        return FORMATS["n-quads"]
    raise no_format(str(path), ", ".join(FORMATS))
