"""The drop-in: a module type whose names are MLflow's, and a finder for its submodules.

Reading, setting and listing names goes to MLflow, so that patching works and each module exists
once. Pickles of the package name MLflow, so that they can be loaded without this package.
Imports the standard library only.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from yprov_mlflow.prov.capture import patches

PACKAGE = __name__.partition(".")[0]
OWN = frozenset({"__main__", "prov"})
"""Submodules that are ours; every other name is MLflow's."""


class DropIn(ModuleType):
    """The type of the package: a module that stands in for MLflow."""

    def __getattr__(self, name: str) -> Any:
        """Return MLflow's attribute; the first one activates capture."""
        if name == "__all__":
            return [*dict.fromkeys(importlib.import_module("mlflow").__all__), "prov"]
        if name.startswith("__") and name != "__version__":
            raise AttributeError(f"module {PACKAGE!r} has no attribute {name!r}")
        if name in OWN:
            return importlib.import_module(f"{PACKAGE}.{name}")
        error = f"module {PACKAGE!r} has no attribute {name!r}, nor has 'mlflow'"
        loaded = sys.modules.get("mlflow")
        if not _active and loaded is not None and not hasattr(loaded, name):
            # Pickling looks a name up in all loaded modules, which must not activate capture.
            raise AttributeError(error)
        try:
            return getattr(_mlflow(), name)
        except AttributeError:
            raise AttributeError(error) from None

    def __setattr__(self, name: str, value: Any) -> None:
        """Set the attribute in MLflow, so that a patch is seen by all its users."""
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
        """Return MLflow's names and ``prov``; this does not activate capture."""
        return sorted({*dir(importlib.import_module("mlflow")), "prov"})

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickle as MLflow."""
        return importlib.import_module, ("mlflow",)


class _SubmoduleFinder:
    """Finds ``yprov_mlflow.X`` in ``mlflow.X``: the same module, not a second copy.

    Both a finder and its loader. It is not a subclass of those in ``importlib.abc``, whose import
    loads much of the standard library.
    """

    def __init__(self) -> None:
        self._loading: dict[str, tuple[Any, Any]] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return a spec for a submodule of MLflow that is imported under our name."""
        package, _, submodule = fullname.partition(".")
        if package != PACKAGE or not submodule or submodule.split(".")[0] in OWN:
            return None
        _mlflow()
        origin = f"mlflow.{submodule}"
        if origin not in sys.modules and importlib.util.find_spec(origin) is None:
            return None
        loader: Any = self
        return importlib.machinery.ModuleSpec(fullname, loader, origin=origin, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """Return MLflow's own module."""
        assert spec.origin is not None
        module = importlib.import_module(spec.origin)
        self._loading[spec.name] = (module.__spec__, module.__loader__)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Restore the attributes that the import system has overwritten; the module is loaded."""
        assert module.__spec__ is not None
        module.__spec__, module.__loader__ = self._loading.pop(module.__spec__.name)


def install() -> None:
    """Insert the finder before the others, once."""
    if not any(isinstance(finder, _SubmoduleFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _SubmoduleFinder())


_active = False


def _mlflow() -> ModuleType:
    """Return MLflow, with capture on."""
    global _active
    if not _active or "mlflow" not in sys.modules:
        # Set first: importing MLflow reads names of this package.
        _active, done = True, False
        try:
            patches.activate()
            done = True
        finally:
            _active = done
    return sys.modules["mlflow"]


def _is_own(value: Any) -> bool:
    return isinstance(value, ModuleType) and value.__name__.startswith(PACKAGE)
