"""The face of the drop-in: a module whose names are MLflow's, and a finder for its submodules.

Getting, setting and listing names goes to MLflow, so patching works and there is one module
of each name only; to pickle, the module is MLflow, so that what is pickled needs no package
but MLflow to be loaded again. Imports the standard library only.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

PACKAGE = __name__.partition(".")[0]
OWN = frozenset({"__main__", "prov"})
"""Submodules that are ours; every other name is MLflow's."""


class DropIn(ModuleType):
    """The type of the package: a module that stands in for MLflow."""

    def __getattr__(self, name: str) -> Any:
        """Give MLflow's attribute; the first one activates capture."""
        if name == "__all__":
            return [*dict.fromkeys(importlib.import_module("mlflow").__all__), "prov"]
        if name.startswith("__") and name != "__version__":
            raise AttributeError(f"module {PACKAGE!r} has no attribute {name!r}")
        if name in OWN:
            return importlib.import_module(f"{PACKAGE}.{name}")
        loaded = sys.modules.get("mlflow")
        if not _active and loaded is not None and not hasattr(loaded, name):
            # Pickling looks for a name in all modules there are: that is no use of ours.
            raise AttributeError(f"module {PACKAGE!r} has no attribute {name!r}, nor has 'mlflow'")
        try:
            return getattr(_mlflow(), name)
        except AttributeError:
            raise AttributeError(
                f"module {PACKAGE!r} has no attribute {name!r}, nor has 'mlflow'"
            ) from None

    def __setattr__(self, name: str, value: Any) -> None:
        """Set the attribute in MLflow, so that patches reach everyone."""
        if name.startswith("__") or name in OWN or _is_own(value):
            super().__setattr__(name, value)
        else:
            setattr(_mlflow(), name, value)

    def __delattr__(self, name: str) -> None:
        """Delete the attribute where it is set."""
        if name in self.__dict__:
            super().__delattr__(name)
        else:
            delattr(_mlflow(), name)

    def __dir__(self) -> list[str]:
        """List MLflow's names and ``prov``; a look at the list is no use of them."""
        return sorted({*dir(importlib.import_module("mlflow")), "prov"})

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickle as MLflow."""
        return importlib.import_module, ("mlflow",)


class _Alias:
    """Finds ``yprov_mlflow.X`` in ``mlflow.X``: the same module, not a second copy.

    A finder and its loader; not subclasses of those in ``importlib.abc``, which imports much
    of the standard library.
    """

    def __init__(self) -> None:
        self._loading: dict[str, tuple[ModuleType, Any, Any]] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Give a spec for a submodule of MLflow asked for by our name."""
        package, _, rest = fullname.partition(".")
        if package != PACKAGE or not rest or rest.split(".")[0] in OWN:
            return None
        _mlflow()
        origin = f"mlflow.{rest}"
        if origin not in sys.modules and importlib.util.find_spec(origin) is None:
            return None
        loader: Any = self
        return importlib.machinery.ModuleSpec(fullname, loader, origin=origin, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """Give MLflow's own module."""
        assert spec.origin is not None
        module = importlib.import_module(spec.origin)
        self._loading[spec.name] = (module, module.__spec__, module.__loader__)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Put back what the import system has just overwritten; the module is loaded."""
        assert module.__spec__ is not None
        _, spec, loader = self._loading.pop(module.__spec__.name)
        module.__spec__, module.__loader__ = spec, loader


def install() -> None:
    """Put the finder in front of the others, once."""
    if not any(isinstance(finder, _Alias) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Alias())


def _mlflow() -> ModuleType:
    module = sys.modules.get("mlflow")
    if module is None or not _active:
        _activate()
        module = sys.modules["mlflow"]
    return module


_active = False


def _activate() -> None:
    global _active
    _active = True
    try:
        seams = importlib.import_module(f"{PACKAGE}.prov.capture.patches")
        seams.activate()
    except BaseException:
        _active = False
        raise


def _is_own(value: Any) -> bool:
    return isinstance(value, ModuleType) and value.__name__.startswith(PACKAGE)
