"""The registry of formats, and detection of a file's format."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from yprov_mlflow.prov import plugins
from yprov_mlflow.prov.errors import DocumentError, PluginError
from yprov_mlflow.prov.formats import plugin_formats, prov_json, prov_jsonld, prov_n, prov_xml
from yprov_mlflow.prov.formats.jsonld_names import is_prov_jsonld
from yprov_mlflow.prov.formats.rdf import json_ld, turtle
from yprov_mlflow.prov.layout import DOCUMENT_STEM
from yprov_mlflow.prov.model.document import Document

HEAD = 1 << 16
"""Number of bytes at the start of a file that are enough to detect its format."""


@dataclasses.dataclass(frozen=True)
class Format:
    """A file format for documents.

    Args:
        name: Its name in options and settings.
        suffix: The extension of its files, with the dot.
        media_type: Its registered media type, or the one in common use.
        many: Whether one file can hold several documents, each under its own name.
        codec: The module or object with the functions ``dump`` and ``load``.
    """

    name: str
    suffix: str
    media_type: str
    many: bool
    codec: Any = dataclasses.field(repr=False)

    def dump(
        self, documents: Iterable[Document], stream: BinaryIO, *, single: bool = False
    ) -> None:
        """Write documents one after another; only one of them is in memory at a time.

        Args:
            documents: The documents.
            stream: Receives the bytes; equal documents always give equal bytes.
            single: Write exactly one document, flat. Otherwise each document becomes a bundle
                or a named graph, if the format has them. RDF with graphs always names them, so
                that files can be concatenated.

        Raises:
            UsageError: There is not exactly one document where only one is possible.
            DocumentError: The format cannot hold a value of a document.
        """
        self.codec.dump(documents, stream, single=single or not self.many)

    def load(self, stream: BinaryIO) -> Iterator[Document]:
        """Yield documents: one per bundle or graph, and one for the records outside of them.

        Raises:
            DocumentError: The bytes are not in this format, or are not PROV.
        """
        documents: Iterator[Document] = self.codec.load(stream)
        return documents


BUILT_IN: Mapping[str, Format] = {
    form.name: form
    for form in (
        Format("prov-json", ".json", "application/json", True, prov_json),
        # Not .jsonld alone, which is PROV-O in JSON-LD: a folder may have both.
        Format("prov-jsonld", ".prov.jsonld", "application/ld+json", True, prov_jsonld),
        Format("prov-n", ".provn", "text/provenance-notation", True, prov_n),
        Format("prov-xml", ".xml", "application/provenance+xml", True, prov_xml),
        Format("turtle", ".ttl", "text/turtle", False, turtle.TURTLE),
        Format("trig", ".trig", "application/trig", True, turtle.TRIG),
        Format("n-quads", ".nq", "application/n-quads", True, turtle.N_QUADS),
        Format("json-ld", ".jsonld", "application/ld+json", True, json_ld),
    )
}
"""Our own formats by name."""


class _Formats(Mapping[str, Format]):
    """Our formats, then those of other packages, which are imported when they are looked up."""

    def __getitem__(self, name: str) -> Format:
        form = BUILT_IN.get(name) or _of_plugin(name)
        if form is None:
            raise KeyError(name)
        return form

    def __iter__(self) -> Iterator[str]:
        yield from BUILT_IN
        yield from plugins.names(plugins.FORMATS, BUILT_IN)

    def __len__(self) -> int:
        return sum(1 for _ in self)


FORMATS: Mapping[str, Format] = _Formats()
"""All formats by name; a lookup raises ``PluginError`` for a format that cannot be used."""

SUFFIXES: Mapping[str, Format] = {form.suffix: form for form in BUILT_IN.values()} | {
    ".nt": BUILT_IN["n-quads"],
    ".provx": BUILT_IN["prov-xml"],
}
"""Our formats by file extension."""


def _letters(word: str) -> str:
    return re.sub(r"[^a-z0-9]", "", word.lower())


_USUAL_NAMES: Mapping[str, str] = {
    **{_letters(suffix): form.name for suffix, form in SUFFIXES.items()},
    **{_letters(name): name for name in BUILT_IN},
    # A line of N-Triples is one of N-Quads without a graph.
    "ntriples": "n-quads",
    "provo": "turtle",
}


def format_name(word: str) -> str:
    """Return the name of a format for any usual name of it, such as ``ttl`` or ``PROV_N``.

    Hyphens, dots and case do not matter; a word that names no format of ours stays as it is.
    """
    return _USUAL_NAMES.get(_letters(word), word)


_FASTEST_FIRST = (
    *("prov-json", "prov-jsonld", "prov-xml", "prov-n"),
    *("trig", "turtle", "n-quads", "json-ld"),
)
_DOCUMENT_NAMES = [DOCUMENT_STEM + BUILT_IN[name].suffix for name in _FASTEST_FIRST]

_COMPRESSED = (b"\x1f\x8b", b"PK\x03\x04", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
# All quantifiers are possessive: a hostile file must not make the search quadratic.
_COMMENTS = rb"(?:\s++|#[^\r\n]*+)*+"
_IRI = rb"<[A-Za-z][A-Za-z0-9+.-]*+:[^<>\s]*+>"
_STARTS = (
    ("prov-n", rb"(?:\s++|//[^\r\n]*+|/\*(?:[^*]++|\*(?!/))*+\*/)*+document\b"),
    ("prov-xml", rb"<(?:[?!]|[\w.:-]++\s[^<>]*http://www\.w3\.org/ns/prov#[\"'])"),
    (
        # A line of N-Quads is also the start of Turtle: only the dot at its end decides, unless
        # the line is longer than the head of the file.
        "n-quads",
        _COMMENTS + rb"(?:" + _IRI + rb"|_:[^\s<]++)[ \t]*+" + _IRI + rb'[ \t]*+[<_"]'
        rb"[^\r\n]*(?:\.[ \t]*+(?:#[^\r\n]*+)?[\r\n]|\Z)",
    ),
    ("trig", _COMMENTS + rb"(?:[@<]|_:|(?i:prefix|base|graph)\b|\Z)"),
)
"""Patterns for the start of files that are not JSON; TriG includes Turtle."""


def _of_plugin(name: str) -> Format | None:
    codec = plugin_formats.codec(name)
    if codec is None:
        return None
    return Format(name, codec.suffixes[0], "application/octet-stream", False, codec)


def _plugin_suffixes() -> Iterator[tuple[str, Format]]:
    """Yield the extensions of other packages' formats; a broken one must not stop the others."""
    for name in plugins.names(plugins.FORMATS, BUILT_IN):
        try:
            form, codec = _of_plugin(name), plugin_formats.codec(name)
        except PluginError as error:
            plugins.warn_once(str(error))
        else:
            yield from ((suffix, form) for suffix in codec.suffixes if form) if codec else ()


def documents_below(folder: Path) -> Iterator[Path]:
    """Yield the documents below a folder in order: files that conversion and capture name so.

    Of several formats in one folder it is the one that is read fastest, as all of them hold one
    document. Hidden folders are skipped, and links to folders are not followed.
    """
    known_names = [*_DOCUMENT_NAMES]
    known_names += [DOCUMENT_STEM + suffix for suffix, _ in _plugin_suffixes()]
    for path, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if (name := next((n for n in known_names if n in names), None)) is not None:
            yield Path(path, name)


def open_documents(path: Path) -> Iterator[Document]:
    """Yield the documents of a file in any of the formats.

    Args:
        path: The file; it is closed after the last document.

    Raises:
        DocumentError: The format is unknown, or the content does not match it.
        OSError: The file cannot be opened.
    """
    with path.open("rb") as stream:
        head = stream.read(HEAD)
        stream.seek(0)
        try:
            yield from detect_format(path.suffix, head).load(stream)
        except DocumentError as error:
            error.where = f"{path}, {error.where}" if error.where else str(path)
            raise


def detect_format(suffix: str, head: bytes) -> Format:
    """Return the format of a file by its extension or, where that is ambiguous, by its start.

    Args:
        suffix: The extension with its dot; empty for content without a filename.
        head: The first ``HEAD`` bytes; for an empty file the extension decides.

    Raises:
        DocumentError: The format is unknown, or the file is compressed.
    """
    if head.startswith(_COMPRESSED):
        raise DocumentError.compressed()
    suffix = suffix.lower()
    by_suffix = SUFFIXES.get(suffix)
    if by_suffix is None and suffix:
        by_suffix = next((f for s, f in _plugin_suffixes() if s.lower() == suffix), None)
    if by_suffix is not None and by_suffix.name not in ("prov-json", "json-ld"):
        return by_suffix
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start[:1] == b"{" and is_prov_jsonld(start):
        return FORMATS["prov-jsonld"]
    if by_suffix is not None and by_suffix.name == "json-ld":
        return by_suffix
    if start[:1] in (b"{", b"["):
        linked = start[:1] == b"[" or b'"@context"' in head or b'"@graph"' in head
        return FORMATS["json-ld" if linked else "prov-json"]
    if by_suffix is not None or not start:
        return by_suffix or FORMATS["prov-json"]
    for name, pattern in _STARTS:
        if re.match(pattern, start):
            return FORMATS[name]
    raise DocumentError.unknown_format(None, ", ".join(FORMATS))
