"""CSV: all text in quotation marks, so that what is missing differs from what is empty."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from yprov_mlflow.prov.formats.metric_files import arrow
from yprov_mlflow.prov.formats.metric_files.columns import side_file
from yprov_mlflow.prov.translate import PointBatch, SideFile

_BLOCK = 1 << 20
"""Bytes that are read at once; no line is longer."""

NAME = "metrics.csv"
MEDIA_TYPE = "text/csv"


class CsvSink:
    """Takes batches of points; nothing is written to disk before the first one."""

    def __init__(self, folder: Path) -> None:
        """Name the folder that gets the file."""
        self._path = folder / NAME
        self._writer: Any = None
        self._schema: Any = None

    def write(self, batch: PointBatch) -> None:
        """Append one batch, a line for each point."""
        from pyarrow import csv

        if self._writer is None:
            self._schema = arrow.schema(dictionaries=False)
            self._writer = csv.CSVWriter(self._path, self._schema)
        self._writer.write_batch(arrow.record_batch(batch, self._schema))

    def close(self) -> SideFile:
        """Finish the file and say what it is."""
        self._writer.close()
        self._writer = None
        return side_file(self._path, MEDIA_TYPE)


def read(path: Path) -> Iterator[PointBatch]:
    """Read the points of a file."""
    from pyarrow import csv

    options = csv.ConvertOptions(
        column_types=arrow.schema(dictionaries=False),
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    parsing = csv.ParseOptions(newlines_in_values=True)
    blocks = csv.ReadOptions(block_size=_BLOCK, use_threads=False)
    with csv.open_csv(path, blocks, parsing, options) as file:
        for batch in file:
            yield from arrow.batches(batch)
