"""Experiments of a tree: their folders, what they say of themselves, and the runs in them."""

from __future__ import annotations

import os
from collections.abc import Container, Iterator
from typing import Any, NamedTuple

from yprov_mlflow.prov.events import Json
from yprov_mlflow.prov.sources.file_store.meta import META, read_meta, text_of, uri_of, whole_of
from yprov_mlflow.prov.sources.file_store.root import MODELS, TRASH
from yprov_mlflow.prov.sources.file_store.tree_files import STRAY, Files, is_free, is_name
from yprov_mlflow.prov.sources.file_store.values import read_values, tags_of

DELETED = "deleted"
RESERVED = frozenset({"tags", "datasets", "traces", "models"})
"""Folders of an experiment that are no runs."""

_RUN_PARTS = ("metrics", "params", "tags", "inputs", "outputs")
_KNOWN = frozenset(
    "experiment_id name artifact_location creation_time last_update_time lifecycle_stage tags"
    " experiment_uuid".split()
)
_DATABASE = b"SQLite format 3\0"


class Experiment(NamedTuple):
    """One experiment; ``place`` is its folder's POSIX path from the root."""

    path: str
    place: str
    experiment_id: str
    name: str | None
    deleted: bool
    meta: dict[str, Json]
    described: bool


class RunFolder(NamedTuple):
    """A folder that holds a run; ``described`` tells that it has a ``meta.yaml``."""

    path: str
    name: str
    described: bool


def read_experiments(files: Files) -> list[Experiment]:
    """Give all experiments by id, deleted ones last."""
    strays, folders = files.scan(files.root)
    entries = [(entry, False) for entry in folders if entry.name not in (TRASH, MODELS)]
    for trash in folders:
        if trash.name == TRASH:
            more, deleted = files.scan(trash.path)
            strays += more
            entries += [(entry, True) for entry in deleted]
    for stray in strays:
        _tell_stray(files, stray.path)
    found: list[Experiment] = []
    places: dict[str, str] = {}
    for entry, in_trash in entries:
        one = _experiment(files, entry, places, deleted=in_trash)
        if one is not None:
            found.append(one)
            place = places.setdefault(one.experiment_id, one.place)
            if place != one.place:
                files.report(one.path, f"has the id of another experiment, that in {place}", "")
    return sorted(found, key=lambda one: (one.deleted, one.experiment_id))


def _tell_stray(files: Files, path: str) -> None:
    try:
        with open(path, "rb") as file:
            start = file.read(len(_DATABASE))
    except OSError:
        start = b""
    if start == _DATABASE:
        reason = "is a database, a store of its own: convert it, too, with this as its artifacts"
        files.report(path, reason, "all that is in it")
    else:
        files.report(path, STRAY, "the file")


def _experiment(
    files: Files, entry: os.DirEntry[str], taken: Container[str], *, deleted: bool
) -> Experiment | None:
    name = entry.name
    if not is_name(name):
        files.report(entry.path, "has a name that no experiment can have", "all that is in it")
        return None
    place = f"{TRASH}/{entry.name}" if deleted else entry.name
    path = os.path.join(entry.path, META)
    described = os.path.lexists(path)
    if not described and not files.can_list(entry.path):
        return None
    if not described and not _has_runs(entry.path):
        files.report(entry.path, "is no experiment: it has no meta.yaml and no runs", "the folder")
        return None
    if not described:
        reason = "has no meta.yaml: its name, times and artifact location are not known"
        files.report(entry.path, reason, "these")
    meta = read_meta(files, path) if described else {}
    if meta and "name" not in meta:
        files.report(path, "does not have name, and was perhaps cut off", "what is not there")
    told = text_of(meta, "experiment_id")
    if told is not None and told != name:
        told = told if is_free(told, os.path.dirname(entry.path), taken) else name
        reason = f"says it is another experiment than its folder; taken as {told}"
        files.report(path, reason, "")
    deleted = deleted or meta.get("lifecycle_stage") == DELETED
    return Experiment(
        entry.path, place, told or name, text_of(meta, "name"), deleted, meta, described
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


def experiment_calls(files: Files, experiment: Experiment) -> Iterator[tuple[Any, ...]]:
    """Give the calls that would have made the experiment: method, subjects, arguments, result."""
    meta = experiment.meta
    tags = {**tags_of(meta), **read_values(files, os.path.join(experiment.path, "tags"))}
    if not experiment.described and not tags:
        return
    named = experiment.experiment_id
    arguments = {
        "name": experiment.name,
        "experiment_id": named,
        "artifact_location": uri_of(meta, "artifact_location"),
        "tags": tags,
        "creation_time": whole_of(meta, "creation_time"),
        "last_update_time": whole_of(meta, "last_update_time"),
        "lifecycle_stage": DELETED if experiment.deleted else "active",
        **{key: value for key, value in meta.items() if key not in _KNOWN and value},
    }
    yield "create_experiment", {"experiment": named}, arguments, named
    if experiment.deleted:
        yield "delete_experiment", {"experiment": named}, {"experiment_id": named}, None


def run_folders(files: Files, experiment: Experiment) -> Iterator[RunFolder]:
    """Give the folders of an experiment that hold runs, by name; tell of the others.

    A run has a ``meta.yaml``, or at least metrics, params or tags. A folder of artifacts alone
    belongs to a run that a database knows.
    """
    strays, folders = files.scan(experiment.path)
    for stray in strays:
        if stray.name != META:
            _tell_stray(files, stray.path)
    for entry in folders:
        if entry.name in RESERVED:
            continue
        if not is_name(entry.name):
            files.report(entry.path, "has a name that no run can have", "all that is in it")
            continue
        described = os.path.lexists(os.path.join(entry.path, META))
        if described or any(_has_files(os.path.join(entry.path, part)) for part in _RUN_PARTS):
            yield RunFolder(entry.path, entry.name, described)
        elif os.path.isdir(os.path.join(entry.path, "artifacts")):
            reason = "has artifacts and no run: its run may be known to a database or a server"
            files.report(entry.path, reason, "the list of these artifacts")
        elif files.can_list(entry.path):
            files.report(entry.path, "is no run: it has no meta.yaml", "the folder")


def _has_files(path: str) -> bool:
    return any(found for _, _, found in os.walk(path))
