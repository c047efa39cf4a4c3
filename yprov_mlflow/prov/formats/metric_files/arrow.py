"""Batches as Arrow has them, and back; columns pass as bytes and not value by value."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

from yprov_mlflow.prov.formats.metric_files.columns import BATCH, COLUMNS, batch_of, texts
from yprov_mlflow.prov.translate import Coded, PointBatch


def schema(*, dictionaries: bool) -> Any:
    """Give the columns with their types; text as it is, or as dictionaries."""
    import pyarrow as pa

    text = pa.dictionary(pa.int32(), pa.string()) if dictionaries else pa.string()
    types = {"text": text, "real": pa.float64()}
    return pa.schema([(name, types.get(kind, pa.int64())) for name, _, kind in COLUMNS])


def record_batch(batch: PointBatch, types: Any) -> Any:
    """Give a batch as Arrow's, of the types of a schema."""
    import pyarrow as pa

    columns = []
    for name, field, kind in COLUMNS:
        make = _text_array if kind == "text" else _number_array
        columns.append(make(getattr(batch, field), types.field(name).type))
    return pa.record_batch(columns, schema=types)


def _text_array(values: Sequence[str | None], kind: Any) -> Any:
    import pyarrow as pa

    column = Coded.of(values)
    if column.meanings == [None]:
        return pa.nulls(len(column), kind)
    if None in column.meanings:
        return pa.array(texts(values), pa.string()).dictionary_encode().cast(kind)
    codes = _number_array(column.codes, pa.int32())
    found = pa.DictionaryArray.from_arrays(codes, _strings(texts(column.meanings)))
    return found if found.type == kind else found.cast(kind)


def _strings(values: Sequence[str | None]) -> Any:
    """Give text, none of it missing, as an array; ``pyarrow.array`` would import pandas."""
    import pyarrow as pa

    pieces = [value.encode() for value in values if value is not None]
    ends = array("i", accumulate(map(len, pieces), initial=0))
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(b"".join(pieces))]
    return pa.Array.from_buffers(pa.string(), len(pieces), buffers)


def _number_array(values: Sequence[Any], kind: Any) -> Any:
    import pyarrow as pa

    if isinstance(values, array):
        return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(values)])
    column = Coded.of(values)
    if column.meanings == [None]:
        return pa.nulls(len(column), kind)
    return pa.array(list(column), kind)


def batches(found: Any) -> Iterator[PointBatch]:
    """Give the batches that one of Arrow's is."""
    for start in range(0, found.num_rows, BATCH):
        piece = found.slice(start, BATCH)
        columns: dict[str, Sequence[Any]] = {}
        for name, _, kind in COLUMNS:
            column = piece.column(name)
            if kind == "text":
                columns[name] = _texts(column)
            elif column.null_count:
                known = _numbers(column.is_valid().cast("int8"), "b")
                numbers = zip(_numbers(column.fill_null(0), "q"), known, strict=True)
                columns[name] = [number if valid else None for number, valid in numbers]
            else:
                columns[name] = _numbers(column, "d" if kind == "real" else "q")
        yield batch_of(columns)


def _texts(column: Any) -> list[str | None]:
    encoded = column if hasattr(column, "dictionary") else column.dictionary_encode()
    meanings: list[str | None] = [*encoded.dictionary.to_pylist(), None]
    codes = encoded.indices.cast("int32").fill_null(-1)
    return [meanings[code] for code in _numbers(codes, "i")]


def _numbers(column: Any, code: str) -> array[Any]:
    found = array(code)
    size = found.itemsize
    start = column.offset * size
    found.frombytes(memoryview(column.buffers()[1])[start : start + len(column) * size])
    return found
