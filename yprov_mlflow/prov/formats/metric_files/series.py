"""The registry of metric file formats, and reading a file of any of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from yprov_mlflow.prov.errors import DocumentError
from yprov_mlflow.prov.layout import METRICS_PARQUET, METRICS_STEM
from yprov_mlflow.prov.translate import PointBatch, PointsSink


@dataclasses.dataclass(frozen=True)
class SeriesFormat:
    """A format for metric files.

    Args:
        name: Its name in options.
        file: Name of the file, or of the folder for formats that use one.
        media_type: Its registered media type, or the one in common use.
        writer: Returns a sink for a path and a media type.
        reader: Yields the points of a file.
    """

    name: str
    file: str
    media_type: str
    writer: Callable[[Path, str], PointsSink] = dataclasses.field(repr=False)
    reader: Callable[[Path], Iterator[PointBatch]] = dataclasses.field(repr=False)

    def sink(self, folder: Path) -> PointsSink:
        """Return a sink for the points of one run, which creates a file with the first batch.

        Args:
            folder: An existing folder for the file.

        Raises:
            MissingExtraError: The library for this format is not installed.
        """
        return self.writer(folder / self.file, self.media_type)

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
            yield from self.reader(path)
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


SERIES: Mapping[str, SeriesFormat] = {
    form.name: form
    for form in (
        SeriesFormat(
            "parquet",
            METRICS_PARQUET,
            "application/vnd.apache.parquet",
            lambda path, media_type: _arrow_files().ParquetSink(path, media_type),
            lambda path: _arrow_files().read_parquet(path),
        ),
        SeriesFormat(
            "csv",
            f"{METRICS_STEM}.csv",
            "text/csv",
            lambda path, media_type: _arrow_files().CsvSink(path, media_type),
            lambda path: _arrow_files().read_csv(path),
        ),
        SeriesFormat(
            "zarr",
            f"{METRICS_STEM}.zarr",
            "application/vnd.zarr",
            lambda path, media_type: _array_files().ZarrSink(path, media_type),
            lambda path: _array_files().read_zarr(path),
        ),
        SeriesFormat(
            "netcdf",
            f"{METRICS_STEM}.nc",
            "application/x-netcdf",
            lambda path, media_type: _array_files().NetcdfSink(path, media_type),
            lambda path: _array_files().read_netcdf(path),
        ),
    )
}
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
