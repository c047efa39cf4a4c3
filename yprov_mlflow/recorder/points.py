"""The side file of metric points: Parquet, batch by batch, the same bytes for the same points."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from yprov_mlflow.translate import PointBatch, SideFile

NAME = "metrics.parquet"
MEDIA_TYPE = "application/vnd.apache.parquet"


class ParquetSink:
    """Takes batches of points; nothing is written to disk before the first one."""

    def __init__(self, folder: Path) -> None:
        """Name the folder that gets the file."""
        self.path = folder / NAME
        self._writer: Any = None

    def write(self, batch: PointBatch) -> None:
        """Append one batch as a row group."""
        import pyarrow as pa
        from pyarrow import parquet

        def texts(values: Any) -> Any:
            return pa.array(values, pa.string()).dictionary_encode()

        columns = {
            "context": texts(batch.context),
            "key": texts(batch.series),
            "step": pa.array(batch.step, pa.int64()),
            "timestamp_ms": pa.array(batch.timestamp_ms, pa.int64()),
            "value": pa.array(batch.value, pa.float64()),
            "epoch": pa.array(batch.epoch, pa.int64()),
            "time_ns": pa.array(batch.time_ns, pa.int64()),
            "session": texts(batch.session),
            "model_id": texts(batch.model),
            "dataset_name": texts(batch.dataset_name),
            "dataset_digest": texts(batch.dataset_digest),
        }
        schema = pa.schema([(name, column.type) for name, column in columns.items()])
        if self._writer is None:
            self._writer = parquet.ParquetWriter(self.path, schema, compression="zstd")
        self._writer.write_batch(pa.record_batch(list(columns.values()), schema=schema))

    def close(self) -> SideFile:
        """Finish the file and say what it is."""
        self._writer.close()
        self._writer = None
        import pyarrow as pa

        pa.default_memory_pool().release_unused()
        with self.path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return SideFile(NAME, digest, self.path.stat().st_size, MEDIA_TYPE)
