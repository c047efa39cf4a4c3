"""Calls of packages that open data files past Python's ``open``, and so past its audit hook.

Each adapter is made when its package is imported, and imports nothing itself. It notes the path
before the call, and passes the call on as it is. What goes through Python's ``open`` needs
none: pandas but for Parquet, numpy, zarr, ``torch.load``, local files of fsspec.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from yprov_mlflow.prov.capture import mlflow_private
from yprov_mlflow.prov.capture.switch import LOGGER
from yprov_mlflow.prov.sampling.open_hook import READ, UPDATED, WRITTEN, note

_PATCHED = "_yprov_mlflow_files"  # attribute of functions that are replaced already
# Modes of files of h5py, netCDF4 and pyarrow, without "b".
_MODES = {"r": READ, "w": WRITTEN, "w-": WRITTEN, "x": WRITTEN, "a": UPDATED, "r+": UPDATED}
_LOCAL = frozenset({"file", "local", "memory"})


class _Call(NamedTuple):
    """A function or method with a path among its arguments.

    Args:
        module: Module of the function or class.
        name: Name in the module; ``Class.method`` for a method.
        mode: How the file is opened; empty if an argument says so.
        position: Position of the path among the arguments, ``self`` not counted.
        keyword: Its name.
    """

    module: str
    name: str
    mode: str
    position: int = 0
    keyword: str = ""


_CALLS = (
    _Call("pyarrow.csv", "read_csv", READ, 0, "input_file"),
    _Call("pyarrow.csv", "open_csv", READ, 0, "input_file"),
    _Call("pyarrow.csv", "write_csv", WRITTEN, 1, "output_file"),
    _Call("pyarrow.json", "read_json", READ, 0, "input_file"),
    _Call("pyarrow.feather", "read_table", READ, 0, "source"),
    _Call("pyarrow.feather", "write_feather", WRITTEN, 1, "dest"),
    _Call("pyarrow.orc", "ORCFile.__init__", READ, 0, "source"),
    _Call("pyarrow.orc", "ORCWriter.__init__", WRITTEN, 0, "where"),
    _Call("pyarrow", "memory_map", READ, 0, "path"),
    _Call("pyarrow.parquet.core", "ParquetFile.__init__", READ, 0, "source"),
    _Call("pyarrow.parquet.core", "ParquetWriter.__init__", WRITTEN, 0, "where"),
    _Call("h5py._hl.files", "File.__init__", "", 0, "name"),
    _Call("netCDF4._netCDF4", "Dataset.__init__", "", 0, "filename"),
    _Call("safetensors", "safe_open", READ, 0, "filename"),
    _Call("safetensors", "serialize_file", WRITTEN, 1, "filename"),
    _Call("torch", "save", WRITTEN, 1, "f"),
    _Call("torch.jit", "save", WRITTEN, 1, "f"),
    _Call("torch.jit", "load", READ, 0, "f"),
)
# Modules that have copied a function by its name when they were imported.
_COPIES = {
    "safetensors": ("safetensors.torch", "safetensors.numpy", "transformers.modeling_utils"),
}


@functools.cache
def install() -> None:
    """Patch each package when it is imported, or now if it is."""
    for call in _CALLS:
        _patch_later(call.module, call.name, functools.partial(_around_path, call))
    _patch_later("pyarrow.dataset", "dataset", _after_dataset)
    _patch_later("pyarrow.parquet.core", "ParquetDataset.__init__", _after_dataset)
    _patch_later("pyarrow", "OSFile", _subclass)
    _patch_later("fsspec.spec", "AbstractFileSystem.open", _around_open)


def _patch_later(module: str, name: str, make: Callable[[Any], Any]) -> None:
    mlflow_private.after_import(module, functools.partial(_patch, name, make))


def _patch(name: str, make: Callable[[Any], Any], module: Any) -> None:
    """Replace a function or a method of a module by what ``make`` returns for it, once."""
    try:
        owner, _, attribute = name.rpartition(".")
        target = getattr(module, owner) if owner else module
        original = getattr(target, attribute)
        if getattr(original, _PATCHED, False):
            return
        replacement = make(original)
        updated = () if isinstance(original, type) else functools.WRAPPER_UPDATES
        functools.update_wrapper(replacement, original, updated=updated)
        setattr(replacement, _PATCHED, True)
        setattr(target, attribute, replacement)
        for copy in _COPIES.get(module.__name__, ()):
            if getattr(sys.modules.get(copy), attribute, None) is original:
                setattr(sys.modules[copy], attribute, replacement)
    except (AttributeError, TypeError) as error:  # another version of the package
        LOGGER.debug("Files that %s.%s opens are not seen: %s", module.__name__, name, error)


def _around_path(call: _Call, original: Any) -> Any:
    skipped = 1 if "." in call.name else 0  # self

    def replacement(*args: Any, **kwargs: Any) -> Any:
        position = call.position + skipped
        path = args[position] if len(args) > position else kwargs.get(call.keyword)
        mode = call.mode
        if not mode:
            mode = _mode(args[position + 1 :], kwargs)
        _note(path, mode, kwargs.get("filesystem"))
        return original(*args, **kwargs)

    return replacement


def _mode(arguments: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Return what a call does that has its mode in an argument."""
    mode = arguments[0] if arguments else kwargs.get("mode")
    return _MODES.get(str(mode or "r").replace("b", ""), UPDATED)


def _subclass(original: Any) -> Any:
    """Return a class in place of a file class of pyarrow, which cannot be changed itself."""

    class Kind(type):
        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, original)

    class Replacement(original, metaclass=Kind):
        def __init__(self, path: Any, *args: Any, **kwargs: Any) -> None:
            super().__init__()
            _note(path, _mode(args, kwargs))

    return Replacement


def _after_dataset(original: Any) -> Any:
    """Note the files of a dataset of pyarrow, which it finds by itself."""

    def replacement(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        dataset = args[0] if result is None else result  # of a constructor, or of a function
        try:
            files, filesystem = dataset.files, dataset.filesystem
        except (AttributeError, ValueError, TypeError):  # a dataset in memory, or of datasets
            return result
        for path in files if isinstance(files, Iterable) else ():
            _note(path, READ, filesystem)
        return result

    return replacement


def _around_open(original: Any) -> Any:
    """Note the URLs that file systems of fsspec open; local ones open files with Python."""

    def replacement(self: Any, path: Any, mode: Any = "rb", *args: Any, **kwargs: Any) -> Any:
        protocol = getattr(self, "protocol", "file")
        first = protocol if isinstance(protocol, str) else next(iter(protocol), "file")
        file = original(self, path, mode, *args, **kwargs)
        if first not in _LOCAL and "cache" not in first and isinstance(path, str):
            url = path if "://" in path else f"{first}://{path.lstrip('/')}"
            note(url, READ if str(mode).startswith("r") else WRITTEN, is_local=False)
        return file

    return replacement


def _note(path: Any, mode: str, filesystem: Any = None) -> None:
    if not isinstance(path, str | bytes | os.PathLike):  # an open file
        return
    name = os.fsdecode(path)
    kind = getattr(filesystem, "type_name", "local") if filesystem is not None else "local"
    if kind == "py":  # fsspec, which is patched itself
        return
    scheme = urlsplit(name).scheme if "://" in name[:32] else ""
    if scheme == "file":
        name, scheme = unquote(urlsplit(name).path), ""
    if scheme or kind not in _LOCAL:
        note(name if scheme else f"{kind}://{name}", mode, is_local=False)
    else:
        note(name, mode)
