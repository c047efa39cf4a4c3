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
from yprov_mlflow.prov.formats.metric_files.columns import COLUMNS, batch_of, side_file, texts
from yprov_mlflow.prov.translate import BATCH, Coded, PointBatch, SideFile

CHUNK = 8 * BATCH
"""Points in a chunk of an array."""

# Array that says whether a point has an epoch: integer arrays cannot hold missing values.
_EPOCH_KNOWN = "epoch_known"
_MISSING = -1  # the code for missing text
# All arrays with their type codes.
_ARRAYS: Mapping[str, str] = {
    **{column.name: {"text": "i", "real": "d"}.get(column.kind, "q") for column in COLUMNS},
    _EPOCH_KNOWN: "b",
}
_DTYPES = {"q": "i8", "d": "f8", "i": "i4", "b": "i1"}
_LABELS = "labels"
_LABEL_SUFFIX = "_label"


class _ArraySink(ABC):
    """Writes batches of points in chunks of equal length."""

    def __init__(self, path: Path, media_type: str) -> None:
        self._path = path
        self._media_type = media_type
        self._pending = {name: array(code) for name, code in _ARRAYS.items()}
        self._codes: dict[str, dict[str, int]] = {
            column.name: {} for column in COLUMNS if column.kind == "text"
        }
        self._file: Any = None
        self._written = 0

    @abstractmethod
    def _create(self) -> Any:
        """Create the file, and return it as a mapping of empty arrays."""

    @abstractmethod
    def _append(self, name: str, values: Any) -> None:
        """Append values to an array, which has ``self._written`` so far."""

    @abstractmethod
    def _finish(self, labels: Mapping[str, Sequence[str]]) -> None:
        """Write the texts of each column's codes, and close the file."""

    def write(self, batch: PointBatch) -> None:
        """Append one batch."""
        if self._file is None:
            self._file = self._create()
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
        self._finish({name: list(codes) for name, codes in self._codes.items()})
        return side_file(self._path, self._media_type)

    # Chunks of equal length independent of the batches: equal points give equal bytes.
    def _flush(self) -> None:
        for name, column in self._pending.items():
            self._append(name, numpy.frombuffer(column[:CHUNK], dtype=_DTYPES[column.typecode]))
            del column[:CHUNK]
        self._written += CHUNK


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
            part["epoch"] = [epoch if has_epoch else None for epoch, has_epoch in pairs]
            yield batch_of(part)


def _library(name: str, extra: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingExtraError.of(name, extra, "This metric file") from error


# -- Zarr ----------------------------------------------------------------------------------


class _ZarrSink(_ArraySink):
    def __init__(self, path: Path, media_type: str) -> None:
        super().__init__(path, media_type)
        self._zarr = _library("zarr", "zarr")

    def _create(self) -> Any:
        group = self._zarr.open_group(str(self._path), mode="w", zarr_format=3)
        shape: dict[str, Any] = {"shape": (0,), "chunks": (CHUNK,), "dimension_names": ("point",)}
        return {
            name: group.create_array(name, dtype=_DTYPES[code], **shape)
            for name, code in _ARRAYS.items()
        }

    def _append(self, name: str, values: Any) -> None:
        self._file[name].append(values)

    def _finish(self, labels: Mapping[str, Sequence[str]]) -> None:
        for name, meanings in labels.items():
            self._file[name].attrs[_LABELS] = list(meanings)


def _read_zarr(path: Path) -> Iterator[PointBatch]:
    group = _library("zarr", "zarr").open_group(str(path), mode="r")
    columns = {name: group[name] for name in _ARRAYS}
    labels = {
        name: column.attrs[_LABELS] for name, column in columns.items() if _LABELS in column.attrs
    }
    return _batches(columns, labels)


ZARR = (_ZarrSink, _read_zarr)

# -- NetCDF --------------------------------------------------------------------------------


class _NetcdfSink(_ArraySink):
    def __init__(self, path: Path, media_type: str) -> None:
        super().__init__(path, media_type)
        self._netcdf = _library("netCDF4", "netcdf")

    def _create(self) -> Any:
        file = self._netcdf.Dataset(str(self._path), "w", format="NETCDF4")
        file.createDimension("point", None)
        for name, code in _ARRAYS.items():
            file.createVariable(
                name, _DTYPES[code], ("point",), zlib=True, chunksizes=(CHUNK,), fill_value=False
            )
        return file

    def _append(self, name: str, values: Any) -> None:
        # The variables share a dimension, which grows with the first: its length is not theirs.
        self._file[name][self._written : self._written + len(values)] = values

    def _finish(self, labels: Mapping[str, Sequence[str]]) -> None:
        for name, meanings in labels.items():
            dimension = name + _LABEL_SUFFIX
            self._file.createDimension(dimension, len(meanings) or None)
            variable = self._file.createVariable(dimension, str, (dimension,))
            for number, meaning in enumerate(meanings):
                variable[number] = _escaped(meaning)
            self._file[name].setncattr(_LABELS, dimension)
        self._file.close()


def _read_netcdf(path: Path) -> Iterator[PointBatch]:
    with _library("netCDF4", "netcdf").Dataset(str(path), "r") as file:
        file.set_auto_mask(False)  # plain arrays: the code -1 stands for missing text
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


NETCDF = (_NetcdfSink, _read_netcdf)
