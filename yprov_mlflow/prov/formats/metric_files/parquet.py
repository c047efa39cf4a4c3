"""Parquet: a row group for each batch, text as dictionaries."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from yprov_mlflow.prov.formats.metric_files import arrow
from yprov_mlflow.prov.formats.metric_files.columns import BATCH, COLUMNS, side_file
from yprov_mlflow.prov.translate import PointBatch, SideFile

NAME = "metrics.parquet"
MEDIA_TYPE = "application/vnd.apache.parquet"

_BUFFER = 1 << 18
"""Bytes written at once; Parquet itself writes dozens of small pieces for each column."""

_TEXTS = [name for name, _, kind in COLUMNS if kind == "text"]
_ENCODINGS = {
    name: "PLAIN" if kind == "real" else "DELTA_BINARY_PACKED"
    for name, _, kind in COLUMNS
    if kind != "text"
}
"""Steps and times go up by little, so that their differences take less than they do."""


class ParquetSink:
    """Takes batches of points; nothing is written to disk before the first one."""

    def __init__(self, folder: Path) -> None:
        """Name the folder that gets the file."""
        self._path = folder / NAME
        self._writer: Any = None
        self._schema: Any = None
        self._file: Any = None
        self._batches = 0

    def write(self, batch: PointBatch) -> None:
        """Append one batch as a row group."""
        import pyarrow as pa
        from pyarrow import parquet

        if self._writer is None:
            self._schema = arrow.schema(dictionaries=True)
            file = pa.OSFile(str(self._path), "wb")
            self._file = pa.BufferedOutputStream(file, _BUFFER)
            self._writer = parquet.ParquetWriter(
                self._file,
                self._schema,
                compression="snappy",
                use_dictionary=_TEXTS,
                column_encoding=_ENCODINGS,
                write_statistics=False,
            )
        self._batches += 1
        self._writer.write_batch(arrow.record_batch(batch, self._schema))

    def close(self) -> SideFile:
        """Finish the file and say what it is."""
        self._writer.close()
        self._file.close()
        self._writer = self._file = None
        if self._batches > 1:
            import pyarrow as pa

            pa.default_memory_pool().release_unused()
        return side_file(self._path, MEDIA_TYPE)


def read(path: Path) -> Iterator[PointBatch]:
    """Read the points of a file."""
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(BATCH):
            yield from arrow.batches(batch)
