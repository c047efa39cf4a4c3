"""Digests of the parts of files: records of documents, metric points, events of journals.

They name the part that changed. That a file changed at all is known from its whole SHA-256, so
eight bytes are enough for each part.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple

import orjson
import pyarrow as pa
from pyarrow import parquet

from yprov_mlflow.prov.errors import SealError
from yprov_mlflow.prov.formats import open_documents
from yprov_mlflow.prov.formats.file_formats import SUFFIXES
from yprov_mlflow.prov.formats.metric_files import SERIES, read_points
from yprov_mlflow.prov.layout import DOCUMENT_STEM, METRICS_STEM

_SIZE = 8
_BATCH = 65_536
_MAX_LINE = 2**28
_LINE = re.compile(rb' ?\["(\w{1,40})",(\d{1,18}),')

_SCHEMA = pa.schema(
    [
        ("file", pa.dictionary(pa.int32(), pa.string())),
        ("kind", pa.dictionary(pa.int32(), pa.string())),
        ("name", pa.dictionary(pa.int32(), pa.string())),
        ("number", pa.int64()),
        ("digest", pa.binary(_SIZE)),
    ]
)


class Part(NamedTuple):
    """A part of a file: a record by its section and id, a point by its key and step, or an event.

    ``number`` is the step of a point, the number of an event, or how often an id occurred before.
    """

    kind: str
    name: str
    number: int

    def __str__(self) -> str:
        if self.kind == POINT:
            return f"point of {self.name} at step {self.number}"
        if self.kind.startswith(_EVENT):
            return f"event {self.number} ({self.kind.removeprefix(_EVENT)})"
        if self.kind in (_HEAD, _OTHER_LINE):
            return f"{self.kind} {self.number}"
        return f"{self.kind} {self.name}"


PartDigest = tuple[Part, bytes]

POINT = "point"
_EVENT = "event "
_HEAD = "head in line"
_OTHER_LINE = "unreadable line"


def reader_of(name: str) -> Callable[[Path], Iterator[PartDigest]] | None:
    """Return the function that yields the parts of a file with this path; None for other files."""
    file = PurePosixPath(name)
    suffix = file.name.removeprefix(file.name.partition(".")[0])
    stem = file.name.removesuffix(suffix)
    # Documents of other machines have a digest after the stem.
    if re.fullmatch(rf"{DOCUMENT_STEM}(-[0-9a-f]+)?", stem) and suffix in SUFFIXES:
        return _records
    is_points = suffix in {Path(form.file).suffix for form in SERIES.values()}
    if re.fullmatch(rf"{METRICS_STEM}(-[0-9a-f]+)?", stem) and is_points:
        return _points
    return None


def _records(path: Path) -> Iterator[PartDigest]:
    """Yield each record of a document, and its prefixes."""
    repeated: Counter[tuple[str, str]] = Counter()
    for number, document in enumerate(open_documents(path)):
        sections: dict[str, Any] = {"prefix": document.prefixes, **document.records}
        for section, records in sections.items():
            for identifier, record in records.items():
                content = _content(record)
                yield (
                    Part(section, identifier, repeated[section, identifier]),
                    _digest(b"%d\n%b" % (number, content)),
                )
                repeated[section, identifier] += 1


def _points(path: Path) -> Iterator[PartDigest]:
    """Yield each point of a metric file."""
    for batch in read_points(path):
        # All columns, so that no part of a point can change unnoticed.
        columns = [getattr(batch, name) for name in batch.__dataclass_fields__]
        for row, series, step in zip(
            zip(*columns, strict=True), batch.series, batch.step, strict=True
        ):
            # Lone surrogates, which Arrow cannot hold, as escapes.
            name = series.encode("utf-8", "backslashreplace").decode()
            yield Part(POINT, name, step), _digest(repr(row).encode("utf-8", "surrogatepass"))


def lines(file: BinaryIO, size: int) -> Iterator[PartDigest]:
    """Yield each line in the first ``size`` bytes of a journal."""
    number = 0
    while line := file.readline(min(size, _MAX_LINE)):
        number += 1
        size -= len(line)
        match = _LINE.match(line)
        # Not decoded: a journal of a later version must do, too.
        if match:
            yield Part(_EVENT + match[1].decode(), "", int(match[2])), _digest(line)
        else:
            kind = _HEAD if line.startswith(b'["journal"') else _OTHER_LINE
            yield Part(kind, "", number), _digest(line)


def _content(record: Any) -> bytes:
    try:
        return orjson.dumps(record, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # integers over 64 bits, which other formats than PROV-JSON may have
        return json.dumps(record, sort_keys=True).encode()


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()[:_SIZE]


# -- the file of digests ---------------------------------------------------------------------


def write(path: Path, files: Iterable[tuple[str, Iterable[PartDigest]]]) -> None:
    """Write the digests of the parts of files as Parquet; equal parts give equal bytes."""
    with parquet.ParquetWriter(
        path,
        _SCHEMA,
        compression="zstd",
        use_dictionary=["file", "kind", "name"],
        column_encoding={"number": "DELTA_BINARY_PACKED", "digest": "PLAIN"},
        store_schema=False,
    ) as writer:
        for name, parts in files:
            remaining = iter(parts)
            while batch := [*islice(remaining, _BATCH)]:
                rows = [(name, *part, digest) for part, digest in batch]
                columns = [
                    pa.array(column, field.type)
                    for column, field in zip(zip(*rows, strict=True), _SCHEMA, strict=True)
                ]
                writer.write_batch(pa.record_batch(columns, schema=_SCHEMA))


def read(path: Path, name: str) -> Iterator[PartDigest]:
    """Yield the digests of the parts of one file.

    Raises:
        SealError: The file of digests is damaged.
    """
    try:
        table = parquet.read_table(path, filters=[("file", "==", name)])
        columns = [table[field].to_pylist() for field in _SCHEMA.names[1:]]
    except (pa.ArrowException, OSError, KeyError) as error:
        raise SealError.unreadable(str(path), str(error)) from error
    for kind, part, number, digest in zip(*columns, strict=True):
        yield Part(kind, part, number), digest
