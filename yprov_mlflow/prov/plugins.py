"""Plugins of other packages: collectors, formats, sinks and sources, found by entry points.

A plugin of one kind has the same name in its entry point and in options and settings. Names of
our own are never replaced. Nothing of a plugin is imported before it is needed.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Collection, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from yprov_mlflow.prov.errors import CollectorError, PluginError

_START = "yprov_mlflow.prov."
COLLECTORS = f"{_START}collectors"
FORMATS = f"{_START}formats"
SINKS = f"{_START}sinks"
SOURCES = f"{_START}sources"
KINDS: Mapping[str, str] = {
    COLLECTORS: "collector",
    FORMATS: "format",
    SINKS: "sink",
    SOURCES: "source",
}
"""The entry-point groups, with the kind of plugin in each."""

_LOGGER = logging.getLogger("yprov_mlflow")

Check = Callable[[Any], str]
"""Returns a violation of a plugin's contract as a clause, or an empty text."""


def names(group: str, built_in: Collection[str] = ()) -> list[str]:
    """Return the sorted names of a group's plugins, without those that are names of our own."""
    for _, sentence in conflicts(group, built_in):
        warn_once(f"{sentence[:1].upper()}{sentence[1:]}")
    return sorted({entry.name for entry in entry_points(group=group)} - {*built_in})


def conflicts(group: str, built_in: Collection[str] = ()) -> list[tuple[str, str]]:
    """Return name and a sentence for each plugin whose name another one has already."""
    owners: dict[str, str] = dict.fromkeys(built_in, "yprov-mlflow")
    sentences = []
    for entry in sorted(entry_points(group=group), key=lambda e: (e.name, package(e))):
        owner = owners.setdefault(entry.name, package(entry))
        if owner != package(entry):
            sentence = (
                f"the {KINDS[group]} {entry.name!r} of the package {package(entry)} has no effect, "
                f"as {owner} has one of this name. Rename it, or uninstall one of the packages."
            )
            sentences.append((entry.name, sentence))
    return sentences


def package(entry: EntryPoint) -> str:
    """Return the distribution that has an entry point."""
    return entry.dist.name if entry.dist is not None else "an unknown package"


def load(group: str, name: str, check: Check) -> Any:
    """Import and return the plugin of a name; None if no package has it.

    Args:
        group: One of ``KINDS``.
        name: The name of the entry point.
        check: Checks the type of the imported object.

    Raises:
        PluginError: It cannot be imported, or violates its contract; for collectors, it is a
            ``CollectorError``.
    """
    error_class = CollectorError if group == COLLECTORS else PluginError
    entry = min(entry_points(group=group, name=name), key=package, default=None)
    if entry is None:
        return None
    try:
        plugin = entry.load()
    except Exception as error:  # importing other people's code can raise anything
        where = f"{entry.value}, of the package {package(entry)}"
        raise error_class.broken(KINDS[group], name, where, repr(error)) from error
    if reason := check(plugin):
        where = f"{entry.value}, of the package {package(entry)}"
        raise error_class.broken(KINDS[group], name, where, reason)
    return plugin


def has_functions(*functions: str) -> Check:
    """Return a check that a plugin, a module or an object, has these functions."""

    def check(plugin: object) -> str:
        if isinstance(plugin, type):
            return f"{plugin!r} is a class; name an instance, or a module"
        missing = [name for name in functions if not callable(getattr(plugin, name, None))]
        return f"it lacks the function {missing[0]}" if missing else ""

    return check


@functools.cache
def warn_once(message: str) -> None:
    """Log a warning, once for each text."""
    _LOGGER.warning("%s", message)
