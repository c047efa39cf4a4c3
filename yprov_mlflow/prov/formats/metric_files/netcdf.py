"""NetCDF-4: a variable for each column, text as codes with their meanings as another variable."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from yprov_mlflow.prov.errors import MissingExtraError
from yprov_mlflow.prov.formats.metric_files.coded import ARRAYS, CHUNK, CodedSink, batches
from yprov_mlflow.prov.translate import PointBatch

NAME = "metrics.nc"
MEDIA_TYPE = "application/x-netcdf"

_LABEL = "_label"
_TYPES = {"q": "i8", "d": "f8", "i": "i4", "b": "i1"}


class NetcdfSink(CodedSink):
    """Takes batches of points; nothing is written to disk before the first one."""

    def __init__(self, folder: Path) -> None:
        """Name the folder that gets it."""
        super().__init__(folder / NAME, MEDIA_TYPE)
        self._netcdf = _library()
        self._file: Any = None

    def begin(self) -> None:
        """Make the file."""
        self._file = self._netcdf.Dataset(str(self.path), "w", format="NETCDF4")
        self._file.createDimension("point", None)
        for name, code in ARRAYS.items():
            self._file.createVariable(
                name, _TYPES[code], ("point",), zlib=True, chunksizes=(CHUNK,), fill_value=False
            )

    def append(self, columns: Mapping[str, array[Any]]) -> None:
        """Append points to the variables."""
        import numpy

        start = len(self._file.dimensions["point"])
        for name, column in columns.items():
            values = numpy.frombuffer(column, dtype=_TYPES[column.typecode])
            self._file[name][start : start + len(column)] = values

    def end(self, labels: Mapping[str, Sequence[str]]) -> None:
        """Say what the codes mean: the n-th label is that of n; -1 is nothing."""
        for name, meanings in labels.items():
            dimension = name + _LABEL
            self._file.createDimension(dimension, len(meanings) or None)
            variable = self._file.createVariable(dimension, str, (dimension,))
            for number, meaning in enumerate(meanings):
                variable[number] = _escaped(meaning)
            self._file[name].setncattr("labels", dimension)
        self._file.close()


def read(path: Path) -> Iterator[PointBatch]:
    """Read the points of a file."""
    with _library().Dataset(str(path), "r") as file:
        file.set_auto_mask(False)
        labels = {
            name.removesuffix(_LABEL): [_unescaped(str(one)) for one in variable[:]]
            for name, variable in file.variables.items()
            if name.endswith(_LABEL)
        }
        yield from batches({name: file[name] for name in ARRAYS}, labels)


def _escaped(text: str) -> str:
    r"""Write NUL, which would end the text, as ``\0`` and a backslash as two of them."""
    return text.replace("\\", "\\\\").replace("\0", "\\0")


def _unescaped(text: str) -> str:
    parts = text.split("\\\\")
    return "\\".join(part.replace("\\0", "\0") for part in parts)


def _library() -> Any:
    try:
        import netCDF4
    except ImportError as error:
        raise MissingExtraError.of("netCDF4", "netcdf", "A NetCDF side file") from error
    return netCDF4
