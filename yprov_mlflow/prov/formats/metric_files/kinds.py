"""All kinds of side files by name, and files of whichever kind."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from yprov_mlflow.prov.errors import DocumentError
from yprov_mlflow.prov.formats.faults import malformed, no_format
from yprov_mlflow.prov.formats.metric_files import csv, netcdf, parquet, zarr
from yprov_mlflow.prov.formats.metric_files.csv import CsvSink
from yprov_mlflow.prov.formats.metric_files.netcdf import NetcdfSink
from yprov_mlflow.prov.formats.metric_files.parquet import ParquetSink
from yprov_mlflow.prov.formats.metric_files.zarr import ZarrSink
from yprov_mlflow.prov.translate import PointBatch, PointsSink


@dataclasses.dataclass(frozen=True)
class SeriesFormat:
    """A kind of side file.

    Args:
        name: What users call it.
        file: Name of the file, or of the folder where it is one.
        media_type: Its registered media type, or the one in use.
        make: Makes what takes the points of one run, from the folder that gets the file.
        reader: Reads the points of a file.
    """

    name: str
    file: str
    media_type: str
    make: Callable[[Path], PointsSink] = dataclasses.field(repr=False)
    reader: Callable[[Path], Iterator[PointBatch]] = dataclasses.field(repr=False)

    def sink(self, folder: Path) -> PointsSink:
        """Give what takes the points of one run; nothing is written before the first.

        Args:
            folder: Folder that gets the file, and must be there.

        Raises:
            MissingExtraError: The library that writes it is not installed.
        """
        return self.make(folder)

    def read(self, path: Path) -> Iterator[PointBatch]:
        """Read the points of a file, in the order in which they were written.

        Raises:
            DocumentError: It is no such file, or not whole.
            MissingExtraError: The library that reads it is not installed.
            OSError: It is not there, or cannot be read.
        """
        if not path.exists():
            raise FileNotFoundError(path)
        try:
            yield from self.reader(path)
        except DocumentError:
            raise
        # Each library has errors of its own for broken files; most are one of these.
        except (ValueError, KeyError, TypeError, RuntimeError, OSError) as error:
            raise malformed(self.name, error, str(path)) from error


SERIES: Mapping[str, SeriesFormat] = {
    one.name: one
    for one in (
        SeriesFormat("parquet", parquet.NAME, parquet.MEDIA_TYPE, ParquetSink, parquet.read),
        SeriesFormat("csv", csv.NAME, csv.MEDIA_TYPE, CsvSink, csv.read),
        SeriesFormat("zarr", zarr.NAME, zarr.MEDIA_TYPE, ZarrSink, zarr.read),
        SeriesFormat("netcdf", netcdf.NAME, netcdf.MEDIA_TYPE, NetcdfSink, netcdf.read),
    )
}
"""All kinds of side files by name."""


def read_points(path: Path) -> Iterator[PointBatch]:
    """Read the points of a side file, of the kind that its name says.

    Raises:
        DocumentError: It is no side file, or not whole.
        MissingExtraError: The library that reads it is not installed.
        OSError: It is not there, or cannot be read.
    """
    for one in SERIES.values():
        if path.suffix.lower() == Path(one.file).suffix:
            return one.read(path)
    raise no_format(str(path), ", ".join(one.file for one in SERIES.values()))
