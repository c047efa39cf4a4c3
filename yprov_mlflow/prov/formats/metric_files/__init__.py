"""Side files: all points of a run's metrics as columns, batch by batch, and back.

Each kind of file holds the same columns without loss: NaN and infinities, whole 64-bit
integers, text of any characters, and what is not known. Equal points give equal bytes.
"""

from __future__ import annotations

from yprov_mlflow.prov.formats.metric_files.columns import digest
from yprov_mlflow.prov.formats.metric_files.kinds import SERIES, SeriesFormat, read_points
from yprov_mlflow.prov.formats.metric_files.parquet import ParquetSink

__all__ = ["SERIES", "ParquetSink", "SeriesFormat", "digest", "read_points"]
