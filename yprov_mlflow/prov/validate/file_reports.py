"""Files of any format: found, read as far as they can be, and judged."""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from yprov_mlflow.prov.errors import DocumentError
from yprov_mlflow.prov.formats import FORMATS, Format
from yprov_mlflow.prov.formats.bundles import Bundle, name_of
from yprov_mlflow.prov.formats.catalog import HEAD, SUFFIXES, recognise
from yprov_mlflow.prov.validate import (
    prov_json_reader,
    prov_n_reader,
    prov_xml_reader,
    rules,
    strict_json,
)
from yprov_mlflow.prov.validate.findings import Finding, error, warning
from yprov_mlflow.prov.validate.judgement import Instance

_CHUNK = 1 << 20
_MAPPED = 16 << 20
_OURS = {"run", "store"}
"""Prefixes of documents that have their graph's name from themselves."""

_MOST_KEPT = 10_000
_LONGEST = 4000
_SIGNS = {
    "prov-json": re.compile(
        rb'"(?:prefix|bundle|entity|activity|agent|used|was[A-Z][a-z]+[A-Z]\w+|actedOnBehalfOf'
        rb'|specializationOf|alternateOf|hadMember|mentionOf)"\s*:'
    ),
    "prov-xml": re.compile(rb"http://www\.w3\.org/ns/prov#"),
}
"""What files of names that say little have near their start, if they hold PROV."""


@dataclass
class FileReport:
    """What was found in one file.

    ``findings`` are the first of them, 10 000 at most; ``errors`` and ``warnings`` count all.
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
        """Whether there is no error."""
        return not self.errors

    def add(self, findings: Iterable[Finding]) -> None:
        """Count findings, and keep the first ones."""
        for finding in findings:
            if finding.severity == "error":
                self.errors += 1
            else:
                self.warnings += 1
            if len(self.findings) < _MOST_KEPT:
                self.findings.append(_bounded(finding))


def _bounded(finding: Finding) -> Finding:
    """Shorten what is long only because ids in the file are."""
    record, message = finding.record[:_LONGEST], finding.message[:_LONGEST]
    if (record, message) == (finding.record, finding.message):
        return finding
    return replace(finding, record=record, message=f"{message}…")


def find(paths: Iterable[Path]) -> Iterator[Path]:
    """Give files, and for each folder the files in it, at any depth, that hold PROV.

    Hidden files and folders are passed by. In folders only files count whose name ends as one
    of a format does; a ``.json`` or ``.xml`` has to look like PROV as well.
    """
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        for found in sorted(path.rglob("*")):
            hidden = any(part.startswith(".") for part in found.relative_to(path).parts)
            if not hidden and found.is_file() and _looks_like_prov(found):
                yield found


def check(path: Path, now: datetime | None = None) -> FileReport:
    """Judge a file; whatever is wrong with it, also that it cannot be read, is a finding."""
    try:
        with path.open("rb") as stream, _content(stream) as content:
            return _judged(str(path), content, path.suffix, now)
    except OSError as fault:
        report = FileReport(str(path), "unknown")
        report.add([error(rules.SYNTAX, "", f"the file cannot be read: {fault.strerror or fault}")])
        return report


def check_bytes(name: str, content: bytes, now: datetime | None = None) -> FileReport:
    """Judge what was read from somewhere; its first bytes tell the format."""
    return _judged(name, content, "", now)


def _judged(name: str, content: Any, suffix: str, now: datetime | None) -> FileReport:
    try:
        kind = recognise(suffix, bytes(content[:HEAD])).name
    except DocumentError as fault:
        report = FileReport(name, "unknown")
        report.add([error(rules.SYNTAX, "", f"{fault.what}. {fault.cure}")])
        return report
    report = FileReport(name, kind)
    if not len(content):
        report.add([error(rules.SYNTAX, "", "the file is empty")])
        return report
    try:
        for instance in _instances(kind, content):
            report.add(instance.judge(now))
            report.records += instance.count
            report.bundles += instance.bundle is not None
    except DocumentError as fault:
        report.add([error(rules.SYNTAX, "", fault.what)])
    except _FAULTS as fault:
        report.add([error(rules.SYNTAX, "", f"this is no {kind} document: {fault}")])
    if not (report.records or report.findings):
        report.add([warning(rules.SYNTAX, "", "there is not one statement of PROV in it")])
    return report


_FAULTS = (
    strict_json.Malformed,
    prov_n_reader.Malformed,
    prov_xml_reader.Malformed,
    UnicodeDecodeError,
    RecursionError,
)
"""What reading raises when it is the file's fault."""


def _instances(kind: str, content: Any) -> Iterator[Instance]:
    if kind == "prov-json":
        return prov_json_reader.instances(strict_json.read(content))
    if kind == "prov-xml":
        return prov_xml_reader.instances(_chunks(content))
    if kind == "prov-n":
        return prov_n_reader.instances(str(content[:], "utf-8"))
    return _linked(FORMATS[kind], BytesIO(content))


def _linked(form: Format, stream: BinaryIO) -> Iterator[Instance]:
    """Give what is read as RDF, each graph as what it is in PROV: a bundle."""
    for document in form.load(stream):
        for instance in prov_json_reader.instances(document.to_json_object(), schema=False):
            if isinstance(document, Bundle) or (form.many and _OURS & document.prefixes.keys()):
                instance.bundle = name_of(document).qualified
            yield instance


def _chunks(content: Any) -> Iterator[bytes]:
    for start in range(0, len(content), _CHUNK):
        yield content[start : start + _CHUNK]


@contextmanager
def _content(stream: BufferedReader) -> Iterator[Any]:
    """Give a file's bytes; those of a large one without reading them all, where that can be."""
    head = stream.read(_MAPPED)
    try:
        # Small files are read: a mapped one that is cut off meanwhile ends the process.
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
    sign = None if form is None else _SIGNS.get(form.name)
    if sign is None or path.stem == "prov":
        return form is not None
    try:
        with path.open("rb") as stream:
            return sign.search(stream.read(HEAD)) is not None
    except OSError:
        return True  # so that it is reported
