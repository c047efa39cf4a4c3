"""Validation of documents in memory, and of files in any format."""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from yprov_mlflow.prov.errors import DocumentError
from yprov_mlflow.prov.formats import (
    FORMATS,
    Format,
    prov_jsonld_parser,
    prov_n_parser,
    prov_xml_parser,
)
from yprov_mlflow.prov.formats.bundles import Bundle, name_of
from yprov_mlflow.prov.formats.file_formats import HEAD, SUFFIXES, detect_format
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.model.identifiers import RUN, STORE
from yprov_mlflow.prov.validate import parsed_reader, prov_json_reader, strict_json, xsd_datetime
from yprov_mlflow.prov.validate.instance import Instance
from yprov_mlflow.prov.validate.names import Names
from yprov_mlflow.prov.validate.rules import SYNTAX, Finding, error, warning
from yprov_mlflow.prov.validate.statements import Statement

_CHUNK = 1 << 20
_MAPPED = 16 << 20
# Prefixes of our documents, whose graph has the name that follows from their content.
_OWN_PREFIXES = {RUN, STORE}

_MOST_KEPT = 10_000
_MOST_CHARACTERS = 4000
# Matches the start of PROV in files whose extension says only JSON or XML.
_MARKERS = {
    "prov-json": re.compile(
        rb'"(?:prefix|bundle|entity|activity|agent|used|was[A-Z][a-z]+[A-Z]\w+|actedOnBehalfOf'
        rb'|specializationOf|alternateOf|hadMember|mentionOf)"\s*:'
    ),
    "prov-xml": re.compile(rb"http://www\.w3\.org/ns/prov#"),
}


def validate(
    document: Document | Mapping[str, Any] | Iterable[Statement],
    *,
    prefixes: Mapping[str, str] | None = None,
    now: datetime | None = None,
) -> list[Finding]:
    """Validate a document, without any input or output.

    Args:
        document: A document; a PROV-JSON object, which may have bundles and several records
            under one id; or statements, of which any number may have the same id.
        prefixes: The namespaces of statements; documents have their own.
        now: Times more than a day later are odd; None: times from the year 2100 on.

    Returns:
        Errors, and warnings about probable mistakes. Each bundle is checked on its own, as
        PROV-CONSTRAINTS requires.
    """
    if isinstance(document, Document):
        instances = prov_json_reader.instances(document.to_json_object(), schema=False)
    elif isinstance(document, Mapping):
        instances = prov_json_reader.instances(document)
    else:
        names = Names(prefixes or {})
        instances = iter([Instance((s.resolved(names.resolve) for s in document), names)])
    return [finding for instance in instances for finding in instance.check(now)]


# -- files -------------------------------------------------------------------------------


@dataclass
class FileReport:
    """The findings in one file.

    ``findings`` has the first 10 000; ``errors`` and ``warnings`` count all.
    """

    file: str
    format: str
    records: int = 0
    bundles: int = 0
    errors: int = 0
    warnings: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def valid(self) -> bool:
        """Whether the file is free of errors."""
        return not self.errors

    def add(self, findings: Iterable[Finding]) -> None:
        """Count findings, and keep the first ones."""
        for finding in findings:
            if finding.severity == "error":
                self.errors += 1
            else:
                self.warnings += 1
            if len(self.findings) < _MOST_KEPT:
                self.findings.append(_shortened(finding))


def _shortened(finding: Finding) -> Finding:
    # An id may be as long as the file, and each of its findings would quote it.
    record, message = finding.record[:_MOST_CHARACTERS], finding.message[:_MOST_CHARACTERS]
    if (record, message) == (finding.record, finding.message):
        return finding
    return replace(finding, record=record, message=f"{message}…")


def find(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield files, and for each folder the PROV files in it at any depth.

    In folders, hidden files are skipped, and so are files without the extension of a format. A
    ``.json`` or ``.xml`` file must also look like PROV.
    """
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        for file in sorted(path.rglob("*")):
            hidden = any(part.startswith(".") for part in file.relative_to(path).parts)
            if not hidden and file.is_file() and _looks_like_prov(file):
                yield file


def check(path: Path, now: datetime | None = None) -> FileReport:
    """Validate a file; that it cannot be read is a finding, too."""
    try:
        with path.open("rb") as stream, _content(stream) as content:
            return _check(str(path), content, path.suffix, now)
    except OSError as problem:
        return _unread(str(path), f"the file cannot be read: {problem.strerror or problem}")


def check_bytes(name: str, content: bytes, now: datetime | None = None) -> FileReport:
    """Validate the content of a file, in the format that its first bytes identify."""
    return _check(name, content, "", now)


def _check(name: str, content: Any, suffix: str, now: datetime | None) -> FileReport:
    try:
        format_name = detect_format(suffix, bytes(content[:HEAD])).name
    except DocumentError as problem:
        return _unread(name, f"{problem.what}. {problem.cure}")
    if not len(content):
        return _unread(name, "the file is empty", format_name)
    report = FileReport(name, format_name)
    try:
        # Each instance is dropped before the next is read, so memory is that of the largest.
        for instance in _instances(format_name, content):
            report.add(instance.check(now))
            report.records += instance.count
            report.bundles += instance.bundle is not None
    except DocumentError as problem:
        report.add([error(SYNTAX, "", problem.what)])
    except _MALFORMED as problem:
        report.add([error(SYNTAX, "", f"not a valid {format_name} document: {problem}")])
    if not (report.records or report.findings):
        report.add([warning(SYNTAX, "", "the document contains no PROV statements")])
    return report


def _unread(name: str, reason: str, format_name: str = "unknown") -> FileReport:
    report = FileReport(name, format_name)
    report.add([error(SYNTAX, "", reason)])
    return report


# Exceptions of the readers that the content of a file causes. Libraries recurse into nested JSON.
_MALFORMED = (
    strict_json.Malformed,
    prov_n_parser.ProvNSyntaxError,
    prov_xml_parser.ProvXmlSyntaxError,
    UnicodeDecodeError,
    RecursionError,
)


def _instances(format_name: str, content: Any) -> Iterator[Instance]:
    if format_name == "prov-json":
        return prov_json_reader.instances(strict_json.parse(content))
    if format_name == "prov-xml":
        starts = range(0, len(content), _CHUNK)
        chunks = (content[start : start + _CHUNK] for start in starts)
        return parsed_reader.instances(prov_xml_parser.parse(chunks))
    if format_name == "prov-jsonld":
        return parsed_reader.instances(prov_jsonld_parser.parse(BytesIO(content)))
    if format_name == "prov-n":
        bundles = prov_n_parser.parse(str(content[:], "utf-8"), _is_time)
        return parsed_reader.instances(bundles)
    return _rdf_instances(FORMATS[format_name], BytesIO(content))


def _is_time(text: str) -> bool:
    return xsd_datetime.parse(text) is not None


def _rdf_instances(form: Format, stream: BinaryIO) -> Iterator[Instance]:
    for document in form.load(stream):
        for instance in prov_json_reader.instances(document.to_json_object(), schema=False):
            # A named graph is a bundle in PROV; in N-Quads, our documents are in one even alone.
            if isinstance(document, Bundle) or (
                form.many and _OWN_PREFIXES & document.prefixes.keys()
            ):
                instance.bundle = name_of(document).qualified
            yield instance


@contextmanager
def _content(stream: BufferedReader) -> Iterator[Any]:
    """Yield a file's bytes, as a memory map if the file is large and can be mapped."""
    head = stream.read(_MAPPED)
    try:
        # Only for large files: the process dies if a mapped file is truncated meanwhile.
        mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) if stream.peek() else None
    except (OSError, ValueError):  # a pipe
        mapped = None
    if mapped is None:
        yield head + stream.read()
        return
    with mapped:
        yield mapped


def _looks_like_prov(path: Path) -> bool:
    form = SUFFIXES.get(path.suffix.lower())
    marker = None if form is None else _MARKERS.get(form.name)
    if marker is None or path.stem == "prov":
        return form is not None
    try:
        with path.open("rb") as stream:
            return marker.search(stream.read(HEAD)) is not None
    except OSError:
        return True  # the caller opens it again and reports the error
