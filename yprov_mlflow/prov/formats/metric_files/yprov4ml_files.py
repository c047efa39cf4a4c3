"""Metric files in the layout of yProv4ML: one file for each series, in CSV, NetCDF or Zarr.

Every kind of file holds the columns epoch, value and time in ms. yProv4ML's column ``epoch`` is
the argument ``step`` of its ``log_metric``.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from yprov_mlflow.prov.errors import DocumentError, MissingExtraError

SUFFIXES: Mapping[str, str] = {"csv": ".csv", "netcdf": ".nc", "zarr": ".zarr"}
"""File extensions by the names of kinds in options."""

_HEADER = ("epoch", "value", "timestep")
# Variables of NetCDF and arrays of Zarr; the dimension that they share is called "time".
_ARRAYS = {"epochs": "i8", "values": "f8", "timestamps": "i8"}
_DIMENSION = "time"
_CHUNK = 1_000
# The separator is the user's choice; versions 1 and 2 have the series in the first line.
_HEADER_LINE = re.compile(r"epoch(.)value\1timestep\s*\Z")
_SEPARATORS = "\t,;|"
_LONGEST_NUMBER = 400


class Columns(NamedTuple):
    """Points of one series as columns of equal length; times are in ms since the epoch."""

    epochs: Sequence[int]
    values: Sequence[float]
    times_ms: Sequence[int]


class SeriesName(NamedTuple):
    """The attributes that NetCDF and Zarr files repeat inside."""

    name: str
    context: str
    source: str


class SeriesFile(NamedTuple):
    """The content of a file: points, faults of lines that cannot be read, and the series.

    ``name`` is None if only the name of the file says which series it is. ``empty`` counts points
    without a value, which yProv4ML writes if it could not measure one.
    """

    columns: Columns
    faults: list[str]
    name: SeriesName | None
    empty: int = 0


def append(path: Path, name: SeriesName, columns: Columns) -> None:
    """Append points to a file, which is created with the first ones.

    Args:
        path: The file; its extension selects the format.
        name: The series.
        columns: The points.

    Raises:
        MissingExtraError: The library for this format is not installed.
        OSError: The file cannot be written.
    """
    _WRITERS[path.suffix](path, name, columns)


def finish(path: Path) -> None:
    """Complete a file after its last points: xarray, which yProv4ML uses, needs an index of Zarr.

    Raises:
        OSError: The file cannot be written.
    """
    if path.suffix == SUFFIXES["zarr"]:
        _library("zarr", "zarr").consolidate_metadata(str(path), zarr_format=2)


def read(path: Path) -> SeriesFile:
    """Return the content of a file, as far as it can be read.

    Raises:
        DocumentError: Nothing in the file can be read.
        MissingExtraError: The library for this format is not installed.
        OSError: The file is missing or cannot be read.
    """
    reader = _READERS.get(path.suffix)
    if reader is None:
        raise DocumentError.unknown_format(str(path), ", ".join(SUFFIXES.values()))
    try:
        return reader(path)
    except DocumentError:
        raise
    # Each library has its own exceptions for broken files; most derive from one of these.
    except (ValueError, KeyError, TypeError, RuntimeError, IndexError) as error:
        raise DocumentError.unreadable(path.suffix.lstrip("."), error, str(path)) from error


# -- CSV -----------------------------------------------------------------------------------


def _append_csv(path: Path, _name: SeriesName, columns: Columns) -> None:
    with path.open("a", encoding="utf-8", newline="\n") as file:
        if file.tell() == 0:
            file.write(",".join(_HEADER) + "\n")
        # repr of a float is the shortest text that parses to the same float; "nan" and "inf" are
        # read by pandas and by float().
        rows = zip(*columns, strict=True)
        file.writelines(f"{epoch},{value!r},{time_ms}\n" for epoch, value, time_ms in rows)


def _read_csv(path: Path) -> SeriesFile:
    with path.open(encoding="utf-8", errors="replace") as file:
        first = file.readline()
        if (header := _HEADER_LINE.match(first)) is not None:
            return _parsed(header[1], file, None)
        for separator in _SEPARATORS:
            fields = first.rstrip("\r\n").split(separator)
            if len(fields) == len(_HEADER):
                return _parsed(separator, file, SeriesName(*fields))
    raise DocumentError(f"lacks the header {','.join(_HEADER)}", str(path), None)


def _parsed(separator: str, lines: Iterable[str], name: SeriesName | None) -> SeriesFile:
    epochs, values, times_ms = array("q"), array("d"), array("q")
    faults, empty = [], 0
    for number, line in enumerate(lines, 2):
        if not line.strip():
            continue
        try:
            fields = line.rstrip("\r\n").split(separator)
            if fields[1:2] == ["None"]:
                empty += 1
                continue
            epoch, value, time_ms = _point(fields)
            epochs.append(epoch)
            times_ms.append(time_ms)
            values.append(value)
        except (ValueError, OverflowError) as error:
            del epochs[len(values) :], times_ms[len(values) :]
            faults.append(f"line {number}: {error}")
    return SeriesFile(Columns(epochs, values, times_ms), faults, name, empty)


def _point(fields: Sequence[str]) -> tuple[int, float, int]:
    if len(fields) != len(_HEADER):
        raise ValueError(f"{len(fields)} values instead of {len(_HEADER)}")
    if max(map(len, fields)) > _LONGEST_NUMBER:  # int() takes quadratic time for long text
        raise ValueError("a value is not a number")
    epoch, value, time_ms = fields
    # A step may be None, which means none was passed, and values may be tensors as text.
    step = 0 if epoch in ("None", "") else int(float(epoch))
    return step, float(_TENSOR.sub(r"\1", value)), int(float(time_ms))


_TENSOR = re.compile(r"\s*tensor\(([^,()]+).*\)\s*\Z")

# -- NetCDF --------------------------------------------------------------------------------


def _library(name: str, extra: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingExtraError.of(name, extra, "This metric file") from error


def _append_netcdf(path: Path, name: SeriesName, columns: Columns) -> None:
    netcdf = _library("netCDF4", "netcdf")
    with netcdf.Dataset(str(path), "a" if path.exists() else "w", format="NETCDF4") as file:
        if not file.variables:
            for field, text in zip(name._fields, name, strict=True):
                file.setncattr(f"_{field}", text)
            file.createDimension(_DIMENSION, None)
            for variable, kind in _ARRAYS.items():
                file.createVariable(variable, kind, (_DIMENSION,), zlib=True, fill_value=False)
        start = file.dimensions[_DIMENSION].size
        for variable, values in zip(_ARRAYS, columns, strict=True):
            file[variable][start : start + len(values)] = values


def _read_netcdf(path: Path) -> SeriesFile:
    with _library("netCDF4", "netcdf").Dataset(str(path), "r") as file:
        file.set_auto_mask(False)  # plain arrays
        attributes = {name.lstrip("_"): file.getncattr(name) for name in file.ncattrs()}
        return _from_arrays((file[variable][:] for variable in _ARRAYS), attributes)


# -- Zarr ----------------------------------------------------------------------------------


def _append_zarr(path: Path, name: SeriesName, columns: Columns) -> None:
    # Format 2, because yProv4ML's own environment has a library that reads no other.
    group = _library("zarr", "zarr").open_group(str(path), mode="a", zarr_format=2)
    if "epochs" not in group:
        group.attrs.update(name._asdict())
        for field, kind in _ARRAYS.items():
            # Without a fill value: xarray would take the zeros of a file for missing values.
            created = group.create_array(
                field, shape=(0,), dtype=kind, chunks=(_CHUNK,), fill_value=None
            )
            created.attrs["_ARRAY_DIMENSIONS"] = [_DIMENSION]  # the names that xarray reads
    numpy = import_module("numpy")
    # Without a fill value, chunks of zeros must be written, too.
    with _library("zarr", "zarr").config.set({"array.write_empty_chunks": True}):
        for (field, kind), values in zip(_ARRAYS.items(), columns, strict=True):
            group[field].append(numpy.asarray(values, dtype=kind))


def _read_zarr(path: Path) -> SeriesFile:
    group = _library("zarr", "zarr").open_group(str(path), mode="r")
    return _from_arrays((group[field][:] for field in _ARRAYS), dict(group.attrs))


def _from_arrays(arrays: Iterator[Any], attributes: Mapping[str, Any]) -> SeriesFile:
    epochs, values, times_ms = arrays
    count = min(len(epochs), len(values), len(times_ms))
    longest = max(len(epochs), len(values), len(times_ms))
    # A file cut off while it was written has columns of unequal length.
    faults = [f"{longest - count} points lack a column"] if longest > count else []
    columns = Columns(
        array("q", map(int, epochs[:count].tolist())),
        array("d", map(float, values[:count].tolist())),
        array("q", map(int, times_ms[:count].tolist())),
    )
    fields = [attributes.get(field) for field in SeriesName._fields]
    has_name = all(isinstance(field, str) for field in fields)
    return SeriesFile(columns, faults, SeriesName(*map(str, fields)) if has_name else None)


_WRITERS = {".csv": _append_csv, ".nc": _append_netcdf, ".zarr": _append_zarr}
_READERS = {".csv": _read_csv, ".nc": _read_netcdf, ".zarr": _read_zarr}
