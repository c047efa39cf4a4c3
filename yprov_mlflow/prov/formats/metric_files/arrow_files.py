"""Parquet and CSV files, both through Arrow, which is imported on first use.

Columns are handed over as buffers instead of value by value, which would dominate the time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import csv, parquet

from yprov_mlflow.prov.formats.metric_files.columns import COLUMNS, batch_of, side_file, texts
from yprov_mlflow.prov.translate import BATCH, Coded, PointBatch, SideFile

# Bytes that are written at once; Parquet itself writes dozens of small pieces per column.
_BUFFER = 1 << 18
# Bytes of CSV that are read at once, and thus the maximum length of a line.
_LONGEST_LINE = 1 << 20
_TEXTS = [name for name, _, kind in COLUMNS if kind == "text"]
# Steps and times grow in small steps, so their differences take less space than dictionaries.
_ENCODINGS = {
    name: "PLAIN" if kind == "real" else "DELTA_BINARY_PACKED"
    for name, _, kind in COLUMNS
    if kind != "text"
}


class _ArrowSink(ABC):
    """Writes batches of points to a file that is created with the first one."""

    text: Any
    """The Arrow type of text."""

    def __init__(self, path: Path, media_type: str) -> None:
        self._path = path
        self._media_type = media_type
        self._schema = _schema(self.text)
        self._writer: Any = None
        self._file: Any = None
        self._batches = 0

    @abstractmethod
    def _open(self) -> Any:
        """Return the writer for ``self._file``."""

    def write(self, batch: PointBatch) -> None:
        """Append one batch."""
        if self._writer is None:
            self._file = pa.BufferedOutputStream(pa.OSFile(str(self._path), "wb"), _BUFFER)
            self._writer = self._open()
        self._batches += 1
        self._writer.write_batch(_record_batch(batch, self._schema))

    def close(self) -> SideFile:
        """Finish the file and return its description."""
        self._writer.close()
        self._file.close()
        self._writer = self._file = None
        # Arrow's pool would keep the peak memory of a long run for the rest of the process.
        if self._batches > 1:
            pa.default_memory_pool().release_unused()
        return side_file(self._path, self._media_type)


class _ParquetSink(_ArrowSink):
    text = pa.dictionary(pa.int32(), pa.string())

    def _open(self) -> Any:
        return parquet.ParquetWriter(
            self._file,
            self._schema,
            compression="snappy",
            use_dictionary=_TEXTS,
            column_encoding=_ENCODINGS,
            write_statistics=False,
        )


class _CsvSink(_ArrowSink):
    text = pa.string()

    def _open(self) -> Any:
        return csv.CSVWriter(self._file, self._schema)


def _read_parquet(path: Path) -> Iterator[PointBatch]:
    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(BATCH):
            yield from _point_batches(batch)


def _read_csv(path: Path) -> Iterator[PointBatch]:
    # Arrow quotes all text, so that an empty string ("") differs from a missing one.
    conversion = csv.ConvertOptions(
        column_types=_schema(pa.string()),
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    parsing = csv.ParseOptions(newlines_in_values=True)
    reading = csv.ReadOptions(block_size=_LONGEST_LINE, use_threads=False)
    with csv.open_csv(path, reading, parsing, conversion) as file:
        for batch in file:
            yield from _point_batches(batch)


PARQUET = (_ParquetSink, _read_parquet)
CSV = (_CsvSink, _read_csv)


def _schema(text: Any) -> Any:
    types = {"text": text, "real": pa.float64()}
    return pa.schema([(name, types.get(kind, pa.int64())) for name, _, kind in COLUMNS])


def _record_batch(batch: PointBatch, schema: Any) -> Any:
    columns = []
    for name, field, kind in COLUMNS:
        convert = _text_array if kind == "text" else _number_array
        columns.append(convert(getattr(batch, field), schema.field(name).type))
    return pa.record_batch(columns, schema=schema)


def _text_array(values: Sequence[str | None], arrow_type: Any) -> Any:
    column = Coded.of(values)
    if column.meanings == [None]:
        return pa.nulls(len(column), arrow_type)
    if None in column.meanings:
        return pa.array(texts(values), pa.string()).dictionary_encode().cast(arrow_type)
    codes = _number_array(column.codes, pa.int32())
    encoded = pa.DictionaryArray.from_arrays(codes, _strings(texts(column.meanings)))
    return encoded if encoded.type == arrow_type else encoded.cast(arrow_type)


def _strings(values: Sequence[str | None]) -> Any:
    # pyarrow.array() would import pandas, which takes longer than writing most files.
    pieces = [value.encode() for value in values if value is not None]
    ends = array("i", accumulate(map(len, pieces), initial=0))
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(b"".join(pieces))]
    return pa.Array.from_buffers(pa.string(), len(pieces), buffers)


def _number_array(values: Sequence[Any], arrow_type: Any) -> Any:
    if isinstance(values, array):
        return pa.Array.from_buffers(arrow_type, len(values), [None, pa.py_buffer(values)])
    column = Coded.of(values)
    if column.meanings == [None]:
        return pa.nulls(len(column), arrow_type)
    return pa.array(list(column), arrow_type)


def _point_batches(record_batch: Any) -> Iterator[PointBatch]:
    """Yield an Arrow record batch in batches of at most ``BATCH`` points."""
    for start in range(0, record_batch.num_rows, BATCH):
        part = record_batch.slice(start, BATCH)
        columns: dict[str, Sequence[Any]] = {}
        for name, _, kind in COLUMNS:
            column = part.column(name)
            if kind == "text":
                columns[name] = _text_values(column)
            elif column.null_count:
                valid = _numbers(column.is_valid().cast("int8"), "b")
                numbers = zip(_numbers(column.fill_null(0), "q"), valid, strict=True)
                columns[name] = [number if present else None for number, present in numbers]
            else:
                columns[name] = _numbers(column, "d" if kind == "real" else "q")
        yield batch_of(columns)


def _text_values(column: Any) -> list[str | None]:
    encoded = column if hasattr(column, "dictionary") else column.dictionary_encode()
    # Missing values become code -1, which is the last element of the list.
    meanings: list[str | None] = [*encoded.dictionary.to_pylist(), None]
    codes = encoded.indices.cast("int32").fill_null(-1)
    return [meanings[code] for code in _numbers(codes, "i")]


def _numbers(column: Any, type_code: str) -> array[Any]:
    """Copy the values out of a column's data buffer; a slice shares that of its parent."""
    numbers = array(type_code)
    size = numbers.itemsize
    start = column.offset * size
    numbers.frombytes(memoryview(column.buffers()[1])[start : start + len(column) * size])
    return numbers
