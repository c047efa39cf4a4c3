"""Sources of other packages, in the entry-point group ``yprov_mlflow.prov.sources``.

They are asked about a location only if it is not one of ours.
"""

from __future__ import annotations

from typing import Protocol

from yprov_mlflow.prov import plugins
from yprov_mlflow.prov.errors import PluginError, StoreError, first_line
from yprov_mlflow.prov.redaction import redact
from yprov_mlflow.prov.sources.source import Source

CHECK = plugins.has_functions("recognizes", "open")


class SourcePlugin(Protocol):
    """The contract: a module or object with these functions."""

    def recognizes(self, location: str) -> bool:
        """Return whether a location, a path or URI, is a store of this kind; cheap."""

    def open(self, location: str) -> Source:
        """Return the source at a location that it recognizes."""


def open_plugin(location: str) -> Source | None:
    """Return the source of the first package that recognizes a location, else None.

    Raises:
        StoreError: The package recognizes the location but cannot open it.
    """
    for name in plugins.names(plugins.SOURCES):
        try:
            plugin = plugins.load(plugins.SOURCES, name, CHECK)
            recognized = plugin.recognizes(location)
        except PluginError as error:
            plugins.warn_once(str(error))
            continue
        except Exception as error:  # noqa: BLE001 - other people's code can raise anything
            plugins.warn_once(f"The source {name!r} was skipped: {first_line(error)}.")
            continue
        if recognized:
            return _opened(name, plugin, location)
    return None


def _opened(name: str, plugin: SourcePlugin, location: str) -> Source:
    cure = "Check the location, and the package that provides the source"
    try:
        source: object = plugin.open(location)
    except Exception as error:  # other people's code can raise anything
        what = f"the source {name!r} cannot open it: {first_line(error)}"
        raise StoreError(what, redact(location), cure) from error
    if not isinstance(source, Source):
        what = f"the source {name!r} returned {type(source).__name__}, not a Source"
        raise StoreError(what, redact(location), cure)
    return source
