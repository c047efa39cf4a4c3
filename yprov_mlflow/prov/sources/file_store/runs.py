"""Runs of a file store: their description, inputs and outputs."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Mapping
from typing import Any

from yprov_mlflow.prov.events import Json
from yprov_mlflow.prov.sources.file_store import decoding
from yprov_mlflow.prov.sources.file_store.experiments import ExperimentFolder
from yprov_mlflow.prov.sources.file_store.meta import META, Meta, to_whole
from yprov_mlflow.prov.sources.file_store.metric_lines import MetricFile
from yprov_mlflow.prov.sources.file_store.store_files import StoreFiles, is_name
from yprov_mlflow.prov.sources.source import RunRef
from yprov_mlflow.prov.sources.state_events import DELETED
from yprov_mlflow.prov.state import Run

_STATUSES = {1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}
_SOURCE_TYPES = {1: "NOTEBOOK", 2: "JOB", 3: "PROJECT", 4: "LOCAL", 5: "UNKNOWN", 1000: "UNKNOWN"}
_KNOWN = frozenset(
    "run_id run_uuid experiment_id run_name user_id start_time end_time status artifact_uri"
    " lifecycle_stage tags source_type".split()
)
# Keys that each MLflow version writes, at or near the end of the file.
_REQUIRED = ("start_time", "status")
_NAME_TAG = "mlflow.runName"
_DATASET_KEYS = ("name", "digest", "source_type", "source", "schema", "profile")
_MAX_DATASETS = 1000


def run_ref(
    files: StoreFiles, experiment: ExperimentFolder, folder: os.DirEntry[str], used: Container[str]
) -> RunRef:
    """Return the reference to a run; ``used`` has the ids of the experiment's runs so far.

    As in MLflow, the id is the folder's name, unless the folder was renamed.
    """
    meta = files.quiet.folder_meta(folder.path)
    stated = meta.text("run_id", "run_uuid")
    path = os.path.join(folder.path, META)
    # A run in a deleted experiment is not deleted itself: MLflow restores both together.
    deleted = meta.get("lifecycle_stage") == DELETED
    return RunRef(
        files.resolve_name(path, stated, folder.path, folder.name, used),
        experiment.experiment_id,
        experiment.name,
        meta.status(_STATUSES),
        meta.whole("start_time"),
        DELETED if deleted else "active",
        f"{experiment.key}/{folder.name}",
    )


def check_run(files: StoreFiles, path: str, meta: Meta) -> None:
    """Report invalid and missing values in the ``meta.yaml`` of a run."""
    files.report_unknown_status(path, meta.status(_STATUSES), _STATUSES)
    files.report_bad_times(path, meta, ("start_time", "end_time"))
    if meta and not meta.text("run_id", "run_uuid"):
        files.report(path, "lacks run_id", "")
    files.report_missing_keys(path, meta, _REQUIRED)


def run_record(meta: Meta, ref: RunRef, tags: dict[str, str], store: dict[str, str]) -> Run:
    """Return the state of a run as far as ``meta.yaml`` and its tags describe it."""
    return Run(
        ref.run_id,
        ref.experiment_id,
        ref.experiment_name,
        # In order: MLflow 1.30 and later, MLflow 0.x, the versions in between.
        meta.text("run_name", "name") or tags.get(_NAME_TAG) or meta.text_or_empty("run_name"),
        meta.text_or_empty("user_id"),
        ref.status,
        ref.start_time_ms,
        meta.whole("end_time"),
        ref.lifecycle,
        meta.uri("artifact_uri"),
        True,
        store,
        _fields(meta, ref),
        tags=tags,
    )


def _fields(meta: Meta, ref: RunRef) -> dict[str, Json]:
    """Return the values of ``meta.yaml`` without an attribute in the run record."""
    fields: dict[str, Json] = {
        key: value for key, value in meta.items() if key not in _KNOWN and value not in (None, "")
    }
    source_type = meta.get("source_type")
    if source_type not in (None, ""):
        number = to_whole(source_type)
        word = _SOURCE_TYPES.get(number, str(source_type)) if number else str(source_type)
        if word != "UNKNOWN":
            fields["source_type"] = word
    stage = meta.get("lifecycle_stage")
    if stage not in (None, "", "active", DELETED):
        fields["lifecycle_stage"] = stage
    # Keep what the description says if the folder contradicts it.
    ids = {"run_id": ref.run_id, "run_uuid": ref.run_id, "experiment_id": ref.experiment_id}
    for key, own_id in ids.items():
        if meta.text(key) not in (None, own_id):
            fields[key] = meta.text(key)
    return fields


def is_before_1_0(meta: Meta) -> bool:
    """Return whether MLflow before 1.0 wrote the description of a run: it lacks ``run_id``."""
    return "run_uuid" in meta and "run_id" not in meta


def has_seconds(files: StoreFiles, folder: str) -> bool:
    """Return whether metrics of a run before 1.0 have timestamps in seconds."""
    if not files.has_folder(folder):
        return False
    for entry in files.walk(folder):
        file = MetricFile(files, entry.path)
        if next(file.columns(), None) is not None and file.in_seconds:
            return True
    return False


# -- inputs and outputs --------------------------------------------------------------------


class RunLinks:
    """Reads inputs and outputs of runs; caches datasets, which many runs have in common."""

    def __init__(self, files: StoreFiles) -> None:
        self._files = files
        self._datasets: dict[str, dict[str, Json] | None] = {}

    def inputs(self, run: str, experiment: str) -> tuple[list[dict[str, Any]], list[str]]:
        """Return the datasets and the ids of the models that a run used, both sorted by name."""
        datasets: list[dict[str, Any]] = []
        models: list[str] = []
        for path, meta in self._described(os.path.join(run, "inputs")):
            kind, source = meta.text("source_type"), meta.text("source_id")
            if source is None or kind not in ("DATASET", "MODEL", "MODEL_INPUT"):
                self._files.report(path, f"is an input of an unknown type: {kind!r}", "the input")
            elif kind == "DATASET":
                # The id is a path component: it must not lead out of the folder of datasets.
                folder = os.path.join(experiment, "datasets", source)
                dataset = self._dataset(folder) if is_name(source) else None
                if dataset is None:
                    reason = f"refers to the dataset {source!r}, which does not exist"
                    self._files.report(path, reason, "the dataset")
                else:
                    datasets.append({**dataset, "tags": _texts(meta.get("tags"))})
            else:
                models.append(source)
        datasets.sort(key=lambda dataset: (str(dataset["name"]), str(dataset["digest"])))
        return datasets, sorted(models)

    def outputs(self, run: str) -> list[tuple[str, int]]:
        """Return pairs of id and step of the models that a run logged as outputs, sorted."""
        outputs = []
        for path, meta in self._described(os.path.join(run, "outputs")):
            # Source, destination and folder all have the id of the model.
            model = meta.text("destination_id", "source_id") or _folder_name(path)
            kind = meta.text("destination_type")
            if kind not in (None, "MODEL_OUTPUT"):
                self._files.report(path, f"is an output of an unknown type: {kind!r}", "the output")
                continue
            outputs.append((model, meta.whole("step") or 0))
        return sorted(outputs)

    def dataset_folders(self, run: str, experiment: str) -> list[str]:
        """Return the folders of the datasets that a run used."""
        return [
            os.path.join(experiment, "datasets", source)
            for _, meta in self._described(os.path.join(run, "inputs"))
            if meta.get("source_type") == "DATASET"
            and (source := meta.text("source_id"))
            and is_name(source)
        ]

    def unused_datasets(self, experiment: str, runs: Iterable[str]) -> list[dict[str, Json]]:
        """Return the datasets of an experiment that none of its runs used."""
        folder = os.path.join(experiment, "datasets")
        if not self._files.has_folder(folder):
            return []
        quiet = RunLinks(self._files.quiet)
        used = {path for run in runs for path in quiet.dataset_folders(run, experiment)}
        folders = [os.path.dirname(path) for path, _ in self._described(folder)]
        datasets = {path: self._dataset(path) for path in folders if path not in used}
        return [
            {"dataset_uuid": os.path.basename(path), **dataset}
            for path, dataset in datasets.items()
            if dataset is not None
        ]

    def _described(self, folder: str) -> list[tuple[str, Meta]]:
        """Return path and content of the ``meta.yaml`` in each subfolder."""
        described = []
        for entry in self._files.folders(folder):
            path = os.path.join(entry.path, META)
            if os.path.lexists(path):
                described.append((path, self._files.meta(path)))
            else:
                self._files.report(entry.path, decoding.NO_META, "the input, output or dataset")
        return described

    def _dataset(self, folder: str) -> dict[str, Json] | None:
        if folder in self._datasets:
            return self._datasets[folder]
        dataset: dict[str, Json] | None = None
        path = os.path.join(folder, META)
        parent = os.path.dirname(folder)
        if (
            self._files.has_folder(parent)
            and self._files.has_folder(folder)
            and os.path.lexists(path)
        ):
            meta = self._files.meta(path)
            dataset = {key: meta.text(key) for key in _DATASET_KEYS}
            dataset |= {key: value for key, value in meta.items() if key not in dataset and value}
        if len(self._datasets) > _MAX_DATASETS:
            self._datasets.clear()
        self._datasets[folder] = dataset
        return dataset


def _folder_name(path: str) -> str:
    return os.path.basename(os.path.dirname(path))


def _texts(tags: Json) -> dict[str, str]:
    if not isinstance(tags, Mapping):
        return {}
    return {key: value if isinstance(value, str) else str(value) for key, value in tags.items()}
