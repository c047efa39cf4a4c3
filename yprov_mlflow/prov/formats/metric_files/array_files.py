"""Zarr and NetCDF-4 files: an array of numbers for each column.

Text is written as codes, with a list of the texts that the codes stand for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy

from yprov_mlflow.prov.errors import MissingExtraError
from yprov_mlflow.prov.formats.metric_files.columns import (
    BATCH,
    COLUMNS,
    batch_of,
    side_file,
    texts,
)
from yprov_mlflow.prov.translate import Coded, PointBatch, SideFile

CHUNK = 8 * BATCH
"""Points in a chunk of an array."""

_EPOCH_KNOWN = "epoch_known"
"""Array that says whether a point has an epoch: integer arrays cannot hold missing values."""

_MISSING = -1
"""Code for missing text."""

_ARRAYS: Mapping[str, str] = {
    **{column.name: {"text": "i", "real": "d"}.get(column.kind, "q") for column in COLUMNS},
    _EPOCH_KNOWN: "b",
}
"""All arrays with their type codes."""

_EXTRAS = {"zarr": "zarr", "netCDF4": "netcdf"}
_DTYPES = {"q": "i8", "d": "f8", "i": "i4", "b": "i1"}
_LABELS = "labels"
_LABEL_SUFFIX = "_label"


class _ArraySink(ABC):
    """Writes batches of points in chunks of equal length, so that equal points give equal bytes."""

    def __init__(self, path: Path, media_type: str) -> None:
        self.path = path
        self._media_type = media_type
        self._pending = {name: array(code) for name, code in _ARRAYS.items()}
        self._codes: dict[str, dict[str, int]] = {
            column.name: {} for column in COLUMNS if column.kind == "text"
        }
        self._created = False

    @abstractmethod
    def create(self) -> None:
        """Create the file."""

    @abstractmethod
    def append(self, columns: Mapping[str, array[Any]]) -> None:
        """Append points to the arrays."""

    @abstractmethod
    def finish(self, labels: Mapping[str, Sequence[str]]) -> None:
        """Write the texts of each column's codes, and close the file."""

    def write(self, batch: PointBatch) -> None:
        """Append one batch."""
        if not self._created:
            self.create()
            self._created = True
        for name, field, kind in COLUMNS:
            values, pending = getattr(batch, field), self._pending[name]
            if kind == "text":
                column, codes = Coded.of(values), self._codes[name]
                code_of = [
                    _MISSING if text is None else codes.setdefault(text, len(codes))
                    for text in texts(column.meanings)
                ]
                pending.extend(map(code_of.__getitem__, column.codes))
            elif kind == "optional integer":
                pending.extend(0 if value is None else value for value in values)
                self._pending[_EPOCH_KNOWN].extend(value is not None for value in values)
            else:
                pending.extend(values)
        while len(self._pending[_EPOCH_KNOWN]) >= CHUNK:
            self._flush()

    def close(self) -> SideFile:
        """Finish the file and return its description."""
        if self._pending[_EPOCH_KNOWN]:
            self._flush()
        self.finish({name: list(codes) for name, codes in self._codes.items()})
        return side_file(self.path, self._media_type)

    def _flush(self) -> None:
        self.append({name: column[:CHUNK] for name, column in self._pending.items()})
        for column in self._pending.values():
            del column[:CHUNK]


def _batches(
    columns: Mapping[str, Any], labels: Mapping[str, Sequence[str]]
) -> Iterator[PointBatch]:
    """Yield the points of arrays, reading a chunk at a time."""
    count = columns[_EPOCH_KNOWN].shape[0]
    for chunk in range(0, count, CHUNK):
        values = {name: columns[name][chunk : chunk + CHUNK].tolist() for name in _ARRAYS}
        for start in range(0, len(values[_EPOCH_KNOWN]), BATCH):
            part = {name: column[start : start + BATCH] for name, column in values.items()}
            for name, meanings in labels.items():
                part[name] = [None if code == _MISSING else meanings[code] for code in part[name]]
            pairs = zip(part["epoch"], part[_EPOCH_KNOWN], strict=True)
            part["epoch"] = [epoch if known else None for epoch, known in pairs]
            yield batch_of(part)


def _library(name: str) -> Any:
    """Return the library for a format, which an extra of the package installs."""
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingExtraError.of(name, _EXTRAS[name], "This metric file") from error


# -- Zarr ----------------------------------------------------------------------------------


class ZarrSink(_ArraySink):
    """Writes batches of points to a Zarr folder."""

    def __init__(self, path: Path, media_type: str) -> None:
        super().__init__(path, media_type)
        self._zarr = _library("zarr")
        self._arrays: dict[str, Any] = {}

    def create(self) -> None:
        """Create the folder with empty arrays."""
        group = self._zarr.open_group(str(self.path), mode="w", zarr_format=3)
        for name, code in _ARRAYS.items():
            self._arrays[name] = group.create_array(
                name,
                shape=(0,),
                chunks=(CHUNK,),
                dtype=_DTYPES[code],
                dimension_names=("point",),
            )

    def append(self, columns: Mapping[str, array[Any]]) -> None:
        """Append points to the arrays."""
        for name, column in columns.items():
            target = self._arrays[name]
            start = target.shape[0]
            target.resize((start + len(column),))
            target[start:] = numpy.frombuffer(column, dtype=_DTYPES[column.typecode])

    def finish(self, labels: Mapping[str, Sequence[str]]) -> None:
        """Write the texts of codes as an attribute of each array."""
        for name, meanings in labels.items():
            self._arrays[name].attrs[_LABELS] = list(meanings)


def read_zarr(path: Path) -> Iterator[PointBatch]:
    """Yield the points of a Zarr folder."""
    group = _library("zarr").open_group(str(path), mode="r")
    columns = {name: group[name] for name in _ARRAYS}
    labels = {
        name: column.attrs[_LABELS] for name, column in columns.items() if _LABELS in column.attrs
    }
    return _batches(columns, labels)


# -- NetCDF --------------------------------------------------------------------------------


class NetcdfSink(_ArraySink):
    """Writes batches of points to a NetCDF-4 file."""

    def __init__(self, path: Path, media_type: str) -> None:
        super().__init__(path, media_type)
        self._netcdf = _library("netCDF4")
        self._file: Any = None

    def create(self) -> None:
        """Create the file with empty variables."""
        self._file = self._netcdf.Dataset(str(self.path), "w", format="NETCDF4")
        self._file.createDimension("point", None)
        for name, code in _ARRAYS.items():
            self._file.createVariable(
                name, _DTYPES[code], ("point",), zlib=True, chunksizes=(CHUNK,), fill_value=False
            )

    def append(self, columns: Mapping[str, array[Any]]) -> None:
        """Append points to the variables."""
        start = len(self._file.dimensions["point"])
        for name, column in columns.items():
            values = numpy.frombuffer(column, dtype=_DTYPES[column.typecode])
            self._file[name][start : start + len(column)] = values

    def finish(self, labels: Mapping[str, Sequence[str]]) -> None:
        """Write the texts of codes as a variable for each column, and close the file."""
        for name, meanings in labels.items():
            dimension = name + _LABEL_SUFFIX
            self._file.createDimension(dimension, len(meanings) or None)
            variable = self._file.createVariable(dimension, str, (dimension,))
            for number, meaning in enumerate(meanings):
                variable[number] = _escaped(meaning)
            self._file[name].setncattr(_LABELS, dimension)
        self._file.close()


def read_netcdf(path: Path) -> Iterator[PointBatch]:
    """Yield the points of a NetCDF-4 file."""
    with _library("netCDF4").Dataset(str(path), "r") as file:
        file.set_auto_mask(False)
        labels = {
            name.removesuffix(_LABEL_SUFFIX): [_unescaped(str(text)) for text in variable[:]]
            for name, variable in file.variables.items()
            if name.endswith(_LABEL_SUFFIX)
        }
        yield from _batches({name: file[name] for name in _ARRAYS}, labels)


def _escaped(text: str) -> str:
    r"""Return text with NUL as ``\0`` and a doubled backslash: NetCDF strings end at NUL."""
    return text.replace("\\", "\\\\").replace("\0", "\\0")


def _unescaped(text: str) -> str:
    # Splitting at doubled backslashes first keeps an escaped "\\0" from becoming NUL.
    parts = text.split("\\\\")
    return "\\".join(part.replace("\\0", "\0") for part in parts)
