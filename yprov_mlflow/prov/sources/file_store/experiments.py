"""Experiments of a file store, and the folders of their runs."""

from __future__ import annotations

import os
from collections.abc import Container, Iterator
from typing import NamedTuple

from yprov_mlflow.prov.sources.file_store import decoding
from yprov_mlflow.prov.sources.file_store.meta import META, Meta
from yprov_mlflow.prov.sources.file_store.store_files import StoreFiles, is_name
from yprov_mlflow.prov.sources.state_events import DELETED
from yprov_mlflow.prov.state import Experiment

TRASH = ".trash"
MODELS = "models"
RESERVED = frozenset({"tags", "datasets", "traces", "models"})
"""Folders of an experiment that are not runs."""

_RUN_PARTS = ("metrics", "params", "tags", "inputs", "outputs")
_KNOWN = frozenset(
    "experiment_id name artifact_location creation_time last_update_time lifecycle_stage tags"
    " experiment_uuid".split()
)
_SQLITE = b"SQLite format 3\0"


class ExperimentFolder(NamedTuple):
    """The folder of an experiment.

    Args:
        path: Absolute path.
        key: POSIX path relative to the root.
        experiment_id: Id in ``meta.yaml``, or name of the folder.
        name: Name of the experiment.
        deleted: Whether the experiment is deleted.
        meta: Content of ``meta.yaml``.
        described: Whether there is a ``meta.yaml``.
    """

    path: str
    key: str
    experiment_id: str
    name: str | None
    deleted: bool
    meta: Meta
    described: bool


def read_experiments(files: StoreFiles) -> list[ExperimentFolder]:
    """Return all experiments sorted by id, deleted ones last."""
    strays, folders = files.scan(files.root)
    entries = [(entry, False) for entry in folders if entry.name not in (TRASH, MODELS)]
    for trash in folders:
        if trash.name == TRASH:
            trash_strays, deleted = files.scan(trash.path)
            strays += trash_strays
            entries += [(entry, True) for entry in deleted]
    for stray in strays:
        _report_stray(files, stray.path)
    # Active experiments come first in this list, so that a copy in the trash yields its id.
    experiments: list[ExperimentFolder] = []
    keys: dict[str, str] = {}
    for entry, in_trash in entries:
        experiment = _read_experiment(files, entry, keys, in_trash=in_trash)
        if experiment is not None:
            experiments.append(experiment)
            first = keys.setdefault(experiment.experiment_id, experiment.key)
            if first != experiment.key:
                reason = f"has the same id as the experiment in {first}"
                files.report(experiment.path, reason, "")
    return sorted(experiments, key=lambda item: (item.deleted, item.experiment_id))


def _report_stray(files: StoreFiles, path: str) -> None:
    try:
        with open(path, "rb") as file:
            start = file.read(len(_SQLITE))
    except OSError:
        start = b""
    if start == _SQLITE:
        reason = "is a database with its own runs; convert it separately, with --artifacts"
        files.report(path, reason, decoding.CONTENT)
    else:
        files.report(path, decoding.UNKNOWN_FILE, decoding.THE_FILE)


def _read_experiment(
    files: StoreFiles, entry: os.DirEntry[str], used: Container[str], *, in_trash: bool
) -> ExperimentFolder | None:
    if not is_name(entry.name):
        files.report(entry.path, "has a name that no experiment can have", decoding.CONTENT)
        return None
    path = os.path.join(entry.path, META)
    described = os.path.lexists(path)
    if not described:
        if not files.can_list(entry.path):
            return None
        if not _has_runs(entry.path):
            reason = "is not an experiment: it has no meta.yaml and no runs"
            files.report(entry.path, reason, decoding.THE_FOLDER)
            return None
        files.report(
            entry.path, decoding.NO_META, "the experiment's name, times and artifact location"
        )
    meta = files.meta(path) if described else Meta()
    files.report_missing_keys(path, meta, ("name",))
    stated = meta.text("experiment_id")
    return ExperimentFolder(
        entry.path,
        f"{TRASH}/{entry.name}" if in_trash else entry.name,
        files.resolve_name(path, stated, entry.path, entry.name, used),
        meta.text("name"),
        in_trash or meta.get("lifecycle_stage") == DELETED,
        meta,
        described,
    )


def _has_runs(path: str) -> bool:
    try:
        with os.scandir(path) as entries:
            names = [e.path for e in entries if e.is_dir() and e.name not in RESERVED]
    except OSError:
        return False
    return any(
        os.path.isdir(os.path.join(name, part))
        for name in names
        for part in ("artifacts", *_RUN_PARTS)
    ) or any(os.path.lexists(os.path.join(name, META)) for name in names)


def experiment_record(files: StoreFiles, experiment: ExperimentFolder) -> Experiment | None:
    """Return the state of an experiment; None if its folder has only runs."""
    meta = experiment.meta
    tags = {**meta.tags(), **files.values(os.path.join(experiment.path, "tags"))}
    if not experiment.described and not tags:
        return None
    return Experiment(
        experiment.experiment_id,
        experiment.name,
        meta.uri("artifact_location"),
        meta.whole("creation_time"),
        meta.whole("last_update_time"),
        DELETED if experiment.deleted else "active",
        tags,
        meta.others(_KNOWN),
    )


def run_folders(files: StoreFiles, experiment: ExperimentFolder) -> Iterator[os.DirEntry[str]]:
    """Yield the folders of runs in an experiment, sorted by name; report other entries.

    A run has a ``meta.yaml``, or at least a metric, param, tag, input or output. A folder with
    artifacts alone belongs to a run in a database.
    """
    strays, folders = files.scan(experiment.path)
    for stray in strays:
        if stray.name != META:
            _report_stray(files, stray.path)
    for entry in folders:
        if entry.name in RESERVED:
            continue
        if not is_name(entry.name):
            files.report(entry.path, "has a name that no run can have", decoding.CONTENT)
        elif os.path.lexists(os.path.join(entry.path, META)) or any(
            _has_files(os.path.join(entry.path, part)) for part in _RUN_PARTS
        ):
            yield entry
        elif os.path.isdir(os.path.join(entry.path, "artifacts")):
            reason = "has artifacts but no run; its run may be in a database or on a server"
            files.report(entry.path, reason, "the list of these artifacts")
        elif files.can_list(entry.path):
            files.report(entry.path, "is not a run: it has no meta.yaml", decoding.THE_FOLDER)


def _has_files(path: str) -> bool:
    return any(names for _, _, names in os.walk(path))
