"""What the folder of a run says of the run itself."""

from __future__ import annotations

import os
from collections.abc import Container, Mapping
from typing import Any

from yprov_mlflow.prov.events import Json
from yprov_mlflow.prov.sources.file_store.experiments import DELETED, Experiment, RunFolder
from yprov_mlflow.prov.sources.file_store.meta import (
    META,
    kept_of,
    read_meta,
    text_of,
    uri_of,
    whole,
    whole_of,
)
from yprov_mlflow.prov.sources.file_store.metric_lines import PointsFile
from yprov_mlflow.prov.sources.file_store.tree_files import Files, is_free
from yprov_mlflow.prov.sources.source import RunRef

_STATUSES = {1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}
_SOURCE_TYPES = {1: "NOTEBOOK", 2: "JOB", 3: "PROJECT", 4: "LOCAL", 5: "UNKNOWN", 1000: "UNKNOWN"}
_KNOWN = frozenset(
    "run_id run_uuid experiment_id run_name user_id start_time end_time status artifact_uri"
    " lifecycle_stage tags source_type".split()
)
_ALWAYS = ("start_time", "status")
"""What every MLflow writes, at the end of the file or near it."""

_NAME = "mlflow.runName"


def reference(
    files: Files,
    experiment: Experiment,
    folder: RunFolder,
    meta: Mapping[str, Json],
    given: Container[str],
) -> RunRef:
    """Give what refers to a run. Its id is its folder's name, as MLflow itself has it.

    Only if ``meta.yaml`` has another id, of which there is no folder and which is not among
    those ``given`` to other runs of the experiment, that is the run's: the folder was renamed.
    """
    run_id = folder.name
    told = text_of(meta, "run_id", "run_uuid")
    if told is not None and told != run_id:
        taken = told if is_free(told, experiment.path, given) else run_id
        reason = f"says it is run {told!r}, in a folder called {run_id}; taken as {taken}"
        files.report(os.path.join(folder.path, META), reason, "")
        run_id = taken
    # That its experiment is in the trash is the experiment's matter: it may be restored.
    deleted = meta.get("lifecycle_stage") == DELETED
    return RunRef(
        run_id,
        experiment.experiment_id,
        experiment.name,
        status(meta),
        whole_of(meta, "start_time"),
        DELETED if deleted else "active",
        f"{experiment.place}/{folder.name}",
    )


def status(meta: Mapping[str, Json]) -> str | None:
    """Give MLflow's word for a status, which most files have as a number."""
    found = meta.get("status")
    number = whole(found)
    if number in _STATUSES:
        return _STATUSES[number]
    return text_of(meta, "status")


def end_time_ms(meta: Mapping[str, Json]) -> int | None:
    """Give when a run ended, None if nobody knows."""
    return whole_of(meta, "end_time")


def check(files: Files, path: str, meta: Mapping[str, Json]) -> None:
    """Tell of values in a run's ``meta.yaml`` that MLflow does not have, and of those missing."""
    found = status(meta)
    if found is not None and found not in _STATUSES.values():
        files.report(path, f"has a status that MLflow does not have: {found!r}", "")
    for key in ("start_time", "end_time"):
        if meta.get(key) not in (None, "") and whole_of(meta, key) is None:
            files.report(path, f"has a {key} that is no time: {meta[key]!r}", f"its {key}")
    if not text_of(meta, "run_id", "run_uuid") and meta:
        files.report(path, "does not name its run", "")
    missing = [key for key in _ALWAYS if key not in meta]
    if missing and meta:
        reason = f"does not have {', '.join(missing)}, and was perhaps cut off"
        files.report(path, reason, "what is not there")


def created(
    meta: Mapping[str, Json], ref: RunRef, tags: Mapping[str, str], store: Mapping[str, str]
) -> tuple[Any, ...]:
    """Give the fields of ``RunCreated``, header left out."""
    return (
        ref.experiment_id,
        ref.experiment_name,
        text_of(meta, "run_name", "name") or tags.get(_NAME) or kept_of(meta, "run_name"),
        kept_of(meta, "user_id"),
        ref.start_time_ms,
        uri_of(meta, "artifact_uri"),
        {},
        store,
        _fields(meta, ref),
    )


def _fields(meta: Mapping[str, Json], ref: RunRef) -> dict[str, Json]:
    """Give what else ``meta.yaml`` says: what no other field of an event has."""
    fields: dict[str, Json] = {
        key: value for key, value in meta.items() if key not in _KNOWN and value not in (None, "")
    }
    kind = meta.get("source_type")
    if kind not in (None, ""):
        number = whole(kind)
        word = _SOURCE_TYPES.get(number, str(kind)) if number else str(kind)
        if word != "UNKNOWN":
            fields["source_type"] = word
    stage = meta.get("lifecycle_stage")
    if stage not in (None, "", "active", DELETED):
        fields["lifecycle_stage"] = stage
    for key, own in (("run_id", ref.run_id), ("run_uuid", ref.run_id)):
        if text_of(meta, key) not in (None, own):
            fields[key] = text_of(meta, key)
    if text_of(meta, "experiment_id") not in (None, ref.experiment_id):
        fields["experiment_id"] = text_of(meta, "experiment_id")
    return fields


def is_before_1_0(meta: Mapping[str, Json]) -> bool:
    """Tell whether MLflow before 1.0 wrote this ``meta.yaml``: it has no ``run_id`` yet."""
    return "run_uuid" in meta and "run_id" not in meta


def has_seconds(files: Files, folder: str) -> bool:
    """Tell whether metrics of a run before 1.0 have time stamps in seconds."""
    if not files.has_folder(folder):
        return False
    for node in files.walk(folder):
        file = PointsFile(files, node.path)
        if next(file.columns(), None) is not None and file.in_seconds:
            return True
    return False


def read_run(files: Files, folder: str) -> dict[str, Json]:
    """Give a run's ``meta.yaml``; nothing where there is none."""
    path = os.path.join(folder, META)
    return read_meta(files, path) if os.path.lexists(path) else {}
