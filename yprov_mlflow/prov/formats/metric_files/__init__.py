"""Metric files: all metric points of a run as columns, batch by batch, and back.

Every kind of file holds the same columns without loss: NaN and infinities, 64-bit integers,
text with any characters, and missing values. Equal points give equal bytes.
"""

from __future__ import annotations

from yprov_mlflow.prov.formats.metric_files.columns import digest
from yprov_mlflow.prov.formats.metric_files.series import SERIES, SeriesFormat, read_points

__all__ = ["SERIES", "SeriesFormat", "digest", "read_points"]
