"""All formats by name, and files of whichever format."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

from yprov_mlflow.prov.errors import DocumentError
from yprov_mlflow.prov.formats.faults import no_format, packed
from yprov_mlflow.prov.translate import Document

HEAD = 1 << 16
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
        self, documents: Iterable[Document], stream: BinaryIO, *, single: bool = False
    ) -> None:
        """Write documents one after another; only one of them is in memory at a time.

        Args:
            documents: The documents.
            stream: Takes the bytes; equal documents always give equal bytes.
            single: There is one document, to be written flat; else each becomes a bundle or
                a named graph, however many there are, if the format can. RDF that has graphs
                always names them, so that files can be put together.

        Raises:
            UsageError: There is not one document, where there can only be one.
            DocumentError: The format cannot hold what a document has.
        """
        self._codec().dump(documents, stream, single=single or not self.many)

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

SUFFIXES: Mapping[str, Format] = {one.suffix: one for one in FORMATS.values()} | {
    ".nt": FORMATS["n-quads"],
    ".provx": FORMATS["prov-xml"],
}
"""Formats by the ends of the names of their files."""

_PACKED = (b"\x1f\x8b", b"PK\x03\x04", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
_COMMENTS = rb"(?:\s++|#[^\r\n]*+)*+"
_IRI = rb"<[A-Za-z][A-Za-z0-9+.-]*+:[^<>\s]*+>"
_STARTS = (
    ("prov-n", rb"(?:\s++|//[^\r\n]*+|/\*(?:[^*]++|\*(?!/))*+\*/)*+document\b"),
    ("prov-xml", rb"<(?:[?!]|[\w.:-]++\s[^<>]*http://www\.w3\.org/ns/prov#[\"'])"),
    (
        "n-quads",  # its first line ends as one does, if that is in sight
        _COMMENTS + rb"(?:" + _IRI + rb"|_:[^\s<]++)[ \t]*+" + _IRI + rb'[ \t]*+[<_"]'
        rb"[^\r\n]*(?:\.[ \t]*+(?:#[^\r\n]*+)?[\r\n]|\Z)",
    ),
    ("trig", _COMMENTS + rb"(?:[@<]|_:|(?i:prefix|base|graph)\b|\Z)"),
)
"""What files of a format begin with, where JSON does not; Turtle is TriG, too."""


def open_documents(path: Path) -> Iterator[Document]:
    """Read the documents of a file, of whatever format it is.

    Args:
        path: The file; it is closed after the last document.

    Raises:
        DocumentError: The file has no format that is known, or is not what it seems to be.
        OSError: The file cannot be opened.
    """
    with path.open("rb") as stream:
        head = stream.read(HEAD)
        stream.seek(0)
        try:
            yield from recognise(path.suffix, head).load(stream)
        except DocumentError as error:
            error.where = f"{path}, {error.where}" if error.where else str(path)
            raise


def recognise(suffix: str, head: bytes) -> Format:
    """Tell a format by the end of a file's name and, where that says too little, by its start.

    Args:
        suffix: End of the name with its dot; empty if there is no name.
        head: The first ``HEAD`` bytes; an empty file is of the format of its name.

    Raises:
        DocumentError: It is none of the formats, or is compressed.
    """
    if head.startswith(_PACKED):
        raise packed()
    found = SUFFIXES.get(suffix.lower())
    if found is not None and found.name != "prov-json":
        return found
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start[:1] in (b"{", b"["):
        linked = start[:1] == b"[" or b'"@context"' in head or b'"@graph"' in head
        return FORMATS["json-ld" if linked else "prov-json"]
    if found is not None or not start:
        return found or FORMATS["prov-json"]
    for name, pattern in _STARTS:
        if re.match(pattern, start):
            return FORMATS[name]
    raise no_format(None, ", ".join(FORMATS))
