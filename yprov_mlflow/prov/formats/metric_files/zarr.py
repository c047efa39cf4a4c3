"""Zarr: a folder with an array for each column, text as codes with their meanings as attribute."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from yprov_mlflow.prov.errors import MissingExtraError
from yprov_mlflow.prov.formats.metric_files.coded import ARRAYS, CHUNK, CodedSink, batches
from yprov_mlflow.prov.translate import PointBatch

NAME = "metrics.zarr"
MEDIA_TYPE = "application/vnd.zarr"

_LABELS = "labels"
_TYPES = {"q": "int64", "d": "float64", "i": "int32", "b": "int8"}


class ZarrSink(CodedSink):
    """Takes batches of points; nothing is written to disk before the first one."""

    def __init__(self, folder: Path) -> None:
        """Name the folder that gets it."""
        super().__init__(folder / NAME, MEDIA_TYPE)
        self._zarr = _library()
        self._arrays: dict[str, Any] = {}

    def begin(self) -> None:
        """Make the folder."""
        group = self._zarr.open_group(str(self.path), mode="w", zarr_format=3)
        for name, code in ARRAYS.items():
            self._arrays[name] = group.create_array(
                name,
                shape=(0,),
                chunks=(CHUNK,),
                dtype=_TYPES[code],
                dimension_names=("point",),
            )

    def append(self, columns: Mapping[str, array[Any]]) -> None:
        """Append points to the arrays, a chunk at a time."""
        import numpy

        for name, column in columns.items():
            found = self._arrays[name]
            start = found.shape[0]
            found.resize((start + len(column),))
            found[start:] = numpy.frombuffer(column, dtype=_TYPES[column.typecode])

    def end(self, labels: Mapping[str, Sequence[str]]) -> None:
        """Say what the codes mean: the n-th label is that of n; -1 is nothing."""
        for name, meanings in labels.items():
            self._arrays[name].attrs[_LABELS] = list(meanings)


def read(path: Path) -> Iterator[PointBatch]:
    """Read the points of a folder."""
    group = _library().open_group(str(path), mode="r")
    columns = {name: group[name] for name in ARRAYS}
    labels = {
        name: column.attrs[_LABELS] for name, column in columns.items() if _LABELS in column.attrs
    }
    return batches(columns, labels)


def _library() -> Any:
    try:
        import zarr
    except ImportError as error:
        raise MissingExtraError.of("zarr", "zarr", "A Zarr side file") from error
    return zarr
