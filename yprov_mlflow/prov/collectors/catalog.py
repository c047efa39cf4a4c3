"""The available collectors, built in and from other packages, and their selection by settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint
from typing import NamedTuple

from yprov_mlflow.prov import plugins
from yprov_mlflow.prov.collectors.base import Collector
from yprov_mlflow.prov.errors import CollectorError


class BuiltIn(NamedTuple):
    """A built-in collector."""

    target: str  # module below this package, and class
    default: bool  # whether the preset "default" contains it
    summary: str


# In probing order: measurements must not wait for git on a slow disk or for SLURM's daemons, nor
# facts for the code to be kept.
BUILT_IN: Mapping[str, BuiltIn] = {
    "cpu": BuiltIn("cpu:Cpu", True, "energy of processors and memory: RAPL, else estimated"),
    "nvidia": BuiltIn("gpu.nvidia:Nvidia", True, "NVIDIA GPUs through NVML"),
    "amd": BuiltIn("gpu.amd:Amd", True, "AMD GPUs through AMD SMI"),
    "host": BuiltIn("host:Host", True, "CPU, memory, disk and network, of node and process"),
    "carbon": BuiltIn("carbon:Carbon", True, "carbon intensity of a given country"),
    "container": BuiltIn("container:Container", True, "kind of container and its limits"),
    "environment": BuiltIn("environment:Environment", True, "Python and installed packages"),
    "git": BuiltIn("git:Git", True, "commit, branch, uncommitted changes, entry point"),
    "workflow": BuiltIn("workflow:Workflow", True, "task of a workflow engine around the process"),
    "about": BuiltIn("about:About", True, "title, license, authors and project, as you state them"),
    "slurm": BuiltIn("slurm:Slurm", True, "job, nodes and share of a SLURM job"),
    "code": BuiltIn("code:Code", True, "the code itself: changes, untracked files, command"),
    # Not by default: which files a run opens is nothing that all users want to publish.
    "files": BuiltIn("files:Files", False, "data files that the run reads and writes"),
    # Not by default: importing codecarbon takes one or two seconds of CPU time.
    "codecarbon": BuiltIn("codecarbon:Codecarbon", False, "energy and emissions (codecarbon)"),
}
"""The built-in collectors by name."""

PRESETS = ("none", "default", "all")


def names() -> list[str]:
    """Return the names of all collectors: built-in ones, then those of other packages, sorted."""
    return [*BUILT_IN, *plugins.names(plugins.COLLECTORS, BUILT_IN)]


def choose(words: Sequence[str]) -> list[str]:
    """Return the selected collectors in probing order.

    Args:
        words: Names and presets, added from left to right; a prefix "-" excludes a name, and a
            list that starts with "-" starts from ``default``.

    Raises:
        CollectorError: A name is neither a collector nor a preset.
    """
    selected = _expand("default") if words and words[0].startswith("-") else set()
    for word in words:
        expanded = _expand(word.removeprefix("-"))
        selected = selected - expanded if word.startswith("-") else selected | expanded
    return [*(name for name in BUILT_IN if name in selected), *sorted(selected - set(BUILT_IN))]


def _expand(name: str) -> set[str]:
    if name == "none":
        return set()
    if name == "default":
        return {key for key, built_in in BUILT_IN.items() if built_in.default}
    # Entry points need the metadata of every installed package: skip that for built-in names.
    available = BUILT_IN if name in BUILT_IN else names()
    if name == "all":
        return {*available}
    if name not in available:
        raise CollectorError.unknown("collector", name, [*PRESETS, *available])
    return {name}


def load(name: str) -> type[Collector]:
    """Import and return the class of a collector.

    Raises:
        CollectorError: The name is unknown, or the entry point is not a collector class.
    """
    if name in BUILT_IN:
        target = f"yprov_mlflow.prov.collectors.{BUILT_IN[name].target}"
        built_in: type[Collector] = EntryPoint(name, target, plugins.COLLECTORS).load()
        return built_in
    cls = plugins.load(plugins.COLLECTORS, name, _check)
    if cls is None:
        raise CollectorError.unknown("collector", name, [*PRESETS, *names()])
    collector: type[Collector] = cls
    return collector


def _check(plugin: object) -> str:
    is_class = isinstance(plugin, type) and issubclass(plugin, Collector)
    return "" if is_class else f"{plugin!r} is not a subclass of Collector"
