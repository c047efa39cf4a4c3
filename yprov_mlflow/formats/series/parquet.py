"""Parquet: a row group for each batch, text as dictionaries."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from yprov_mlflow.formats.series import arrow
from yprov_mlflow.formats.series.columns import BATCH, side_file
from yprov_mlflow.translate import PointBatch, SideFile

NAME = "metrics.parquet"
MEDIA_TYPE = "application/vnd.apache.parquet"


class ParquetSink:
    """Takes batches of points; nothing is written to disk before the first one."""

    def __init__(self, folder: Path) -> None:
        """Name the folder that gets the file."""
        self._path = folder / NAME
        self._writer: Any = None
        self._schema: Any = None

    def write(self, batch: PointBatch) -> None:
        """Append one batch as a row group."""
        from pyarrow import parquet

        if self._writer is None:
            self._schema = arrow.schema(dictionaries=True)
            self._writer = parquet.ParquetWriter(self._path, self._schema, compression="zstd")
        self._writer.write_batch(arrow.record_batch(batch, self._schema))

    def close(self) -> SideFile:
        """Finish the file and say what it is."""
        self._writer.close()
        self._writer = None
        import pyarrow as pa

        pa.default_memory_pool().release_unused()
        return side_file(self._path, MEDIA_TYPE)


def read(path: Path) -> Iterator[PointBatch]:
    """Read the points of a file."""
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(BATCH):
            yield from arrow.batches(batch)
