"""The request for a conversion, the units of work it is split into, and their results."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from yprov_mlflow.prov.errors import UsageError
from yprov_mlflow.prov.formats import FORMATS
from yprov_mlflow.prov.formats.metric_files import SERIES
from yprov_mlflow.prov.ids import quote_key
from yprov_mlflow.prov.layout import STORE_FOLDER
from yprov_mlflow.prov.profiles import PROFILES
from yprov_mlflow.prov.sources import open_source
from yprov_mlflow.prov.sources.source import Problem, RunRef, Source
from yprov_mlflow.prov.translate import Options

LAYOUTS = ("per-run", "per-experiment", "single")
"""One document per run, one per experiment, or a single one."""

POINTS = ("auto", "all", "none")
"""Metric points as records up to a threshold and else in a side file; always as records; never."""

_OUTPUT_VERSION = 2
"""Increase when the same events are written differently: all units are then converted again."""

_MAX_NAME_BYTES = 150
"""File systems allow 255 bytes; the margin is for suffixes."""


@dataclasses.dataclass(frozen=True)
class Request:
    """The options of one conversion; sent to every worker.

    Args:
        source: Folder, database URI or server URI of the store.
        out: Output folder; created if missing.
        formats: Names from ``formats.FORMATS``; each is written.
        layout: One of ``LAYOUTS``.
        experiments: Ids or names of experiments; empty means all.
        runs: Ids of runs; empty means all.
        since_ms: Only runs that started at this time or later, in ms since the epoch.
        statuses: Only runs with one of these statuses; empty means all.
        points: One of ``POINTS``.
        series: Kind of side file, from ``formats.metric_files.SERIES``.
        artifacts: Folder with the artifacts, if they are not where the store says.
        uri: Original location of the store, if ``source`` is a copy of it.
        profile: A name from ``profiles.PROFILES`` to write beside each document of a run.
        address: Path or URI that the output will have, if it is not ``out``.
        options: Options of the translator.
        about: Facts about authors and work for the documents, see ``authorship.read``.
    """

    source: str
    out: Path
    formats: tuple[str, ...] = ("prov-json",)
    layout: str = "per-run"
    experiments: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    since_ms: int | None = None
    statuses: tuple[str, ...] = ()
    points: str = "auto"
    series: str = "parquet"
    artifacts: str | None = None
    uri: str | None = None
    profile: str | None = None
    address: str | None = None
    options: Options = dataclasses.field(default_factory=Options)
    about: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def check(self) -> None:
        """Raise ``UsageError`` for an unknown or impossible option."""
        _check_choice("layout", self.layout, LAYOUTS)
        _check_choice("points", self.points, POINTS)
        _check_choice("series", self.series, SERIES)
        if self.profile is not None:
            self._check_profile(self.profile)
        if not self.formats:
            raise UsageError("no format is requested", None, f"Use one of {', '.join(FORMATS)}")
        for name in self.formats:
            _check_choice("format", name, FORMATS)
            if self.layout != "per-run" and not FORMATS[name].many:
                raise UsageError(
                    f"{name} holds one run per document, not many",
                    f"layout {self.layout}",
                    "Use the layout per-run, or a format with named graphs such as trig",
                )

    def _check_profile(self, profile: str) -> None:
        _check_choice("profile", profile, PROFILES)
        conflict = None
        if self.layout != "per-run":
            conflict = f"layout {self.layout}", "Use the layout per-run"
        elif self.points == "none":
            conflict = "points none", "Use --points auto: the profile has a file for each metric"
        if conflict is not None:
            raise UsageError(f"the profile {profile} cannot be written", *conflict)

    def open_source(self) -> Source:
        """Return the source; it must be closed.

        Raises:
            StoreError: The store cannot be read.
        """
        return open_source(self.source, artifacts=self.artifacts, uri=self.uri)

    @property
    def selective(self) -> bool:
        """Whether only some of the runs are requested."""
        return any((self.experiments, self.runs, self.statuses, self.since_ms is not None))

    def selects(self, ref: RunRef) -> bool:
        """Return whether a run is requested."""
        if self.experiments and not {ref.experiment_id, ref.experiment_name} & {*self.experiments}:
            return False
        if self.runs and ref.run_id not in self.runs:
            return False
        if self.statuses and ref.status not in self.statuses:
            return False
        return self.since_ms is None or (ref.start_time_ms or 0) >= self.since_ms

    def digest(self) -> str:
        """Return a digest of all options that influence the bytes written for a unit.

        The selection of runs is not among them: a unit stays done when the selection changes. The
        formats matter in the layout ``per-run`` only: other layouts have parts in one format.
        """
        options = [
            _OUTPUT_VERSION,
            sorted(set(self.formats)) if self.layout == "per-run" else None,
            self.layout,
            self.points,
            self.series,
            self.artifacts,
            dataclasses.asdict(self.options),
        ]
        if self.about:  # without it, ledgers of earlier conversions stay valid
            options.append(dict(self.about))
        if self.profile is not None:
            options.append(self.profile)
        return hashlib.sha256(json.dumps(options).encode()).hexdigest()[:16]


def _check_choice(option: str, value: str, allowed: Collection[str]) -> None:
    if value not in allowed:
        raise UsageError(f"unknown {option} {value!r}", None, f"Use one of {', '.join(allowed)}")


@dataclasses.dataclass(frozen=True)
class Unit:
    """One unit of work.

    Args:
        key: Unique in the store.
        folder: Path relative to the output.
        ref: The run; None for the unit of everything that belongs to no run.
        previous_fingerprint: Fingerprint at the last conversion with the same options, if any.
    """

    key: str
    folder: str
    ref: RunRef | None
    previous_fingerprint: str | None = None


@dataclasses.dataclass(frozen=True)
class Result:
    """The result of converting a unit: figures of its document, and problems.

    ``state`` is ``"converted"``, ``"unchanged"`` or ``"failed"``; ``sizes`` maps the path of each
    file, relative to the output, to its bytes. ``run`` has the cells of a run in ``index.csv``.
    """

    key: str
    state: str
    fingerprint: str = ""
    records: int = 0
    points: int = 0
    sizes: dict[str, int] = dataclasses.field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    run: dict[str, str] = dataclasses.field(default_factory=dict)


def plan(refs: Iterable[RunRef], request: Request) -> Iterator[Unit]:
    """Yield a unit for each requested run, each with its own folder.

    With a profile, the names of folders are those of the profile, whose readers expect them all in
    one folder; runs of one experiment that started in the same ms get the next number.
    """
    used: set[str] = {STORE_FOLDER}
    for ref in refs:
        if not request.selects(ref):
            continue
        count, folder = 1, _folder(ref, request, 1)
        while folder in used:
            count += 1
            folder = _folder(ref, request, count)
        used.add(folder)
        yield Unit(ref.key, folder, ref)


def _folder(ref: RunRef, request: Request, count: int) -> str:
    if request.profile is not None:
        experiment, number = ref.experiment_name or ref.experiment_id, ref.start_time_ms or 0
        return PROFILES[request.profile].folder(experiment, number + count - 1)
    preferred = f"{_folder_name(ref.experiment_id)}/{_folder_name(ref.run_id)}"
    return preferred if count == 1 else f"{preferred}@{count}"


def _folder_name(name: str) -> str:
    """Return a folder name that every file system accepts and that is not a path elsewhere."""
    quoted = quote_key(name)
    if quoted.strip(".") == "" or quoted == STORE_FOLDER:
        quoted = f"@{quoted}"
    if len(quoted) > _MAX_NAME_BYTES:
        digest = hashlib.sha256(quoted.encode()).hexdigest()[:16]
        quoted = f"{quoted[: _MAX_NAME_BYTES - 17]}@{digest}"
    return quoted
