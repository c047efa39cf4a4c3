"""Which collectors there are, ours and others', and which of them a setting chooses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from typing import NamedTuple

from yprov_mlflow.prov.collectors.base import Collector
from yprov_mlflow.prov.errors import CollectorError

GROUP = "yprov_mlflow.prov.collectors"
"""Entry-point group in which others register theirs."""


class BuiltIn(NamedTuple):
    """One of our collectors: where its class is, and whether it is in the preset ``default``."""

    module: str
    cls: str
    default: bool
    summary: str


BUILT_IN: Mapping[str, BuiltIn] = {
    "cpu": BuiltIn("cpu", "Cpu", True, "energy of processors and memory: RAPL, else estimated"),
    "nvidia": BuiltIn("gpu.nvidia", "Nvidia", True, "NVIDIA GPUs through NVML"),
    "amd": BuiltIn("gpu.amd", "Amd", True, "AMD GPUs through AMD SMI"),
    "host": BuiltIn("host", "Host", True, "CPU, memory, disk and network, of node and process"),
    "carbon": BuiltIn("carbon", "Carbon", True, "carbon intensity of a given country"),
    "container": BuiltIn("container", "Container", True, "kind of container and its limits"),
    "environment": BuiltIn("environment", "Environment", True, "Python and installed packages"),
    "git": BuiltIn("git", "Git", True, "commit, branch, uncommitted changes, entry point"),
    "slurm": BuiltIn("slurm", "Slurm", True, "job, nodes and share of a SLURM job"),
    "codecarbon": BuiltIn("codecarbon", "Codecarbon", False, "codecarbon's own estimate of both"),
}
"""Our collectors by name, in the order in which they are probed: what measures does not wait for
a repository on a slow disk, nor for SLURM's daemons."""

PRESETS = ("none", "default", "all")
"""``default`` leaves out ``codecarbon``: its import takes a second or two of a processor."""


def names() -> list[str]:
    """Give the names of all collectors: ours, then those of other packages, sorted."""
    others = {entry.name for entry in entry_points(group=GROUP)} - set(BUILT_IN)
    return [*BUILT_IN, *sorted(others)]


def choose(chosen: Sequence[str]) -> list[str]:
    """Give the names that a choice comes to.

    Args:
        chosen: Names and presets, each added to those before it; ``-name`` takes one away, at
            the beginning from ``default``.

    Raises:
        CollectorError: There is no collector or preset of that name.
    """
    taken_away = bool(chosen) and chosen[0].startswith("-")
    found = _expanded("default") if taken_away else set()
    for word in chosen:
        expanded = _expanded(word.removeprefix("-"))
        if word.startswith("-"):
            found -= expanded
        else:
            found |= expanded
    return [*(name for name in BUILT_IN if name in found), *sorted(found - set(BUILT_IN))]


def _expanded(name: str) -> set[str]:
    if name == "none":
        return set()
    if name == "default":
        return {one for one, built_in in BUILT_IN.items() if built_in.default}
    # Others' names come from the metadata of all packages: not read where ours will do.
    known = BUILT_IN if name in BUILT_IN else names()
    if name == "all":
        return {*known}
    if name not in known:
        raise CollectorError.unknown(name, [*PRESETS, *known])
    return {name}


def load(name: str) -> type[Collector]:
    """Give the class of a collector.

    Raises:
        CollectorError: There is none of that name, or its package does not give one.
    """
    built_in = BUILT_IN.get(name)
    if built_in is not None:
        module = import_module(f"yprov_mlflow.prov.collectors.{built_in.module}")
        found = getattr(module, built_in.cls)
    else:
        entries = list(entry_points(group=GROUP, name=name))
        if not entries:
            raise CollectorError.unknown(name, [*PRESETS, *names()])
        try:
            found = entries[0].load()
        except Exception as error:
            raise CollectorError.broken(name, entries[0].value, repr(error)) from error
    if not (isinstance(found, type) and issubclass(found, Collector)):
        raise CollectorError.broken(name, repr(found), "it is no subclass of Collector")
    return found
