"""Metric files: all metric points of a run as columns, batch by batch, and back.

Every kind of file holds the same columns without loss: NaN and infinities, 64-bit integers,
text with any characters, and missing values. Equal points give equal bytes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from yprov_mlflow.prov.errors import DocumentError
from yprov_mlflow.prov.formats.metric_files.columns import digest
from yprov_mlflow.prov.layout import METRICS_PARQUET, METRICS_STEM
from yprov_mlflow.prov.translate import PointBatch, PointsSink

__all__ = ["SERIES", "SeriesFormat", "digest", "read_points"]


@dataclasses.dataclass(frozen=True)
class SeriesFormat:
    """A format for metric files.

    Args:
        name: Its name in options.
        file: Name of the file, or of the folder for formats that use one.
        media_type: Its registered media type, or the one in common use.
        codec: Returns the class of its sinks, and the function that yields the points of a file.
    """

    name: str
    file: str
    media_type: str
    codec: Callable[[], Any] = dataclasses.field(repr=False)

    def sink(self, folder: Path) -> PointsSink:
        """Return a sink for the points of one run, which creates a file with the first batch.

        Args:
            folder: An existing folder for the file.

        Raises:
            MissingExtraError: The library for this format is not installed.
        """
        sink: PointsSink = self.codec()[0](folder / self.file, self.media_type)
        return sink

    def read(self, path: Path) -> Iterator[PointBatch]:
        """Yield the points of a file, in the order of writing.

        Raises:
            DocumentError: The file does not have this format, or is incomplete.
            MissingExtraError: The library for this format is not installed.
            OSError: The file is missing or cannot be read.
        """
        if not path.exists():
            raise FileNotFoundError(path)
        try:
            yield from self.codec()[1](path)
        except DocumentError:
            raise
        # Each library has its own exceptions for broken files; most derive from one of these.
        except (ValueError, KeyError, TypeError, RuntimeError, OSError) as error:
            raise DocumentError.unreadable(self.name, error, str(path)) from error


# Arrow and numpy take longer to import than capture may delay a training script.
def _arrow_files() -> Any:
    from yprov_mlflow.prov.formats.metric_files import arrow_files

    return arrow_files


def _array_files() -> Any:
    from yprov_mlflow.prov.formats.metric_files import array_files

    return array_files


_FORMATS = (
    ("parquet", METRICS_PARQUET, "application/vnd.apache.parquet", lambda: _arrow_files().PARQUET),
    ("csv", f"{METRICS_STEM}.csv", "text/csv", lambda: _arrow_files().CSV),
    ("zarr", f"{METRICS_STEM}.zarr", "application/vnd.zarr", lambda: _array_files().ZARR),
    ("netcdf", f"{METRICS_STEM}.nc", "application/x-netcdf", lambda: _array_files().NETCDF),
)

SERIES: Mapping[str, SeriesFormat] = {row[0]: SeriesFormat(*row) for row in _FORMATS}
"""All metric file formats by name."""


def read_points(path: Path) -> Iterator[PointBatch]:
    """Return the points of a metric file, whose extension selects the format.

    Raises:
        DocumentError: The extension is unknown, or the content does not match it.
        MissingExtraError: The library for the format is not installed.
        OSError: The file is missing or cannot be read.
    """
    for form in SERIES.values():
        if path.suffix.lower() == Path(form.file).suffix:
            return form.read(path)
    names = ", ".join(form.file for form in SERIES.values())
    raise DocumentError.unknown_format(str(path), names)
