"""Logged models of a tree: what they say of themselves, and the metric points they share."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from yprov_mlflow.prov.events import Json
from yprov_mlflow.prov.sources.file_store.experiments import DELETED, Experiment
from yprov_mlflow.prov.sources.file_store.meta import (
    META,
    kept_of,
    read_meta,
    text_of,
    uri_of,
    whole,
    whole_of,
)
from yprov_mlflow.prov.sources.file_store.metric_lines import Dataset, PointsFile, Row
from yprov_mlflow.prov.sources.file_store.tree_files import Files, Node
from yprov_mlflow.prov.sources.file_store.values import read_values, tags_of

_STATUSES = {1: "PENDING", 2: "READY", 3: "FAILED"}
_KNOWN = frozenset(
    "model_id name model_type status experiment_id artifact_location creation_timestamp"
    " last_updated_timestamp lifecycle_stage tags".split()
)
_NOTHING: tuple[Json, ...] = (None, "", "active", [], {})
_PARTS = frozenset({"metrics", "params", "tags", "artifacts"})
_WINDOW = 1 << 16
"""Points of a model's metric that wait for their likes among the run's."""


class Model(NamedTuple):
    """A logged model's folder; ``model_id`` and ``source_run_id`` as its ``meta.yaml`` has them."""

    path: str
    model_id: str
    source_run_id: str | None
    experiment: Experiment


def read_models(files: Files, experiment: Experiment) -> Iterator[Model]:
    """Give the logged models of an experiment, by folder."""
    for entry in model_folders(files, experiment):
        path = os.path.join(entry.path, META)
        meta = read_meta(files, path) if os.path.lexists(path) else {}
        model_id = text_of(meta, "model_id") or files.key(entry)
        yield Model(entry.path, model_id, text_of(meta, "source_run_id"), experiment)


def model_folders(files: Files, experiment: Experiment) -> list[os.DirEntry[str]]:
    """Give the folders of an experiment's logged models; tell of those that are none."""
    found = []
    for entry in files.folders(os.path.join(experiment.path, "models")):
        if any(os.path.lexists(os.path.join(entry.path, part)) for part in (META, *_PARTS)):
            found.append(entry)
        else:
            files.report(entry.path, "is no logged model: it has no meta.yaml", "the folder")
    return found


def model_fields(files: Files, model: Model) -> tuple[Any, ...]:
    """Give the fields of ``ModelLogged`` for a model, header left out."""
    path = os.path.join(model.path, META)
    meta: dict[str, Json] = {}
    if META in files.parts(model.path, META, _PARTS):
        meta = read_meta(files, path)
    else:
        files.report(model.path, "has no meta.yaml", "its name, type, status and times")
    fields = {
        "last_updated_timestamp_ms": whole_of(meta, "last_updated_timestamp"),
        "lifecycle": text_of(meta, "lifecycle_stage"),
        **{key: value for key, value in meta.items() if key not in _KNOWN},
    }
    told = text_of(meta, "experiment_id")
    if told not in (None, model.experiment.experiment_id):
        fields["experiment_id"] = told
    return (
        model.model_id,
        text_of(meta, "name"),
        kept_of(meta, "model_type"),
        _status(files, path, meta),
        model.experiment.experiment_id,
        uri_of(meta, "artifact_location"),
        whole_of(meta, "creation_timestamp"),
        read_values(files, os.path.join(model.path, "params")),
        {**tags_of(meta), **read_values(files, os.path.join(model.path, "tags"))},
        None,
        {key: value for key, value in fields.items() if value not in _NOTHING} or None,
    )


def is_deleted(fields: tuple[Any, ...]) -> bool:
    """Tell from the fields of ``ModelLogged`` whether the model was deleted."""
    return bool((fields[10] or {}).get("lifecycle") == DELETED)


def _status(files: Files, path: str, meta: dict[str, Json]) -> str | None:
    found = meta.get("status")
    number = whole(found)
    if number in _STATUSES:
        return _STATUSES[number]
    known = found in _STATUSES.values() or found in (None, "", 0)
    if not known:
        files.report(path, f"has a status that MLflow does not have: {found!r}", "")
    return text_of(meta, "status") if found != 0 else None


# -- metric points -----------------------------------------------------------------------


def metric_files(files: Files, model: Model) -> Iterator[Node]:
    """Give the metric files of a model."""
    folder = os.path.join(model.path, "metrics")
    return files.walk(folder) if files.has_folder(folder) else iter(())


def runs_measured(files: Files, model: Model) -> set[str]:
    """Give the ids of the runs that the model's metric points name."""
    found: set[bytes] = set()
    for node in metric_files(files, model):
        for data in PointsFile(files, node.path).blocks():
            for line in data.split(b"\n"):
                parts = line.split(b" ", 4)
                if len(parts) > 3:
                    found.add(parts[3].strip())
    return {run.decode("utf-8", "replace") for run in found}


class SharedPoints:
    """Points of one metric of a model, of which a run may have the same.

    The model's file and the run's were written in the same order, so that it is enough to
    look for the run's points in a window of the model's.
    """

    def __init__(self, files: Files, model: Model, node: Node, run_id: str) -> None:
        self.model_id = model.model_id
        self.key = node.name
        blocks = PointsFile(files, node.path, of_model=True).columns()
        self._rows = (row for block in blocks for row in block.rows() if row[4] == run_id)
        self._waiting: Counter[tuple[int, str, int, Dataset | None]] = Counter()
        self._count = 0
        self._run_id = run_id

    def take(self, row: Row) -> bool:
        """Tell whether the model has this point; if so, it has it once less."""
        if self._count < _WINDOW // 2:
            for one in itertools.islice(self._rows, _WINDOW // 2):
                self._waiting[_spelt(one)] += 1
                self._count += 1
        wanted = _spelt(row)
        if not self._waiting[wanted]:
            return False
        self._waiting[wanted] -= 1
        self._count -= 1
        return True

    def rest(self) -> Iterator[dict[str, Any]]:
        """Give the points that were not taken, as calls have them."""
        for timestamp, value, step, dataset in self._waiting.elements():
            row = (timestamp, float(value), step, dataset, self._run_id)
            yield point_argument(self.key, row)
        for row in self._rows:
            yield point_argument(self.key, row)


def _spelt(row: Row) -> tuple[int, str, int, Dataset | None]:
    """Give what makes two points the same: NaN is the same as NaN."""
    return row[0], repr(row[1]), row[2], row[3]


def point_argument(key: str, row: Row) -> dict[str, Any]:
    """Give a model's metric point as the arguments of ``log_logged_model_metrics`` have it."""
    timestamp, value, step, dataset, run_id = row
    name, digest = dataset or (None, None)
    return {
        "key": key,
        "value": value,
        "timestamp": timestamp,
        "step": step,
        "run_id": run_id,
        "dataset_name": name,
        "dataset_digest": digest,
    }
