"""Experiments and runs of a file store: folders, descriptions, inputs and outputs."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Iterator
from typing import Any, NamedTuple

from yprov_mlflow.prov.events import Json
from yprov_mlflow.prov.sources.file_store import decoding
from yprov_mlflow.prov.sources.file_store.meta import META, Meta, to_whole
from yprov_mlflow.prov.sources.file_store.metric_lines import MetricFile
from yprov_mlflow.prov.sources.file_store.store_files import StoreFiles, is_name, start_of
from yprov_mlflow.prov.sources.source import RunRef
from yprov_mlflow.prov.sources.state_events import DELETED
from yprov_mlflow.prov.state import Experiment, Run

TRASH = ".trash"
MODELS = "models"
RESERVED = frozenset({"tags", "datasets", "traces", "models"})
"""Folders of an experiment that are not runs."""

_RUN_PARTS = ("metrics", "params", "tags", "inputs", "outputs")
_KNOWN_OF_EXPERIMENTS = frozenset(
    "experiment_id name artifact_location creation_time last_update_time lifecycle_stage tags"
    " experiment_uuid".split()
)
_SQLITE = b"SQLite format 3\0"
_STATUSES = {1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}
_SOURCE_TYPES: dict[int | None, str] = {1: "NOTEBOOK", 2: "JOB", 3: "PROJECT", 4: "LOCAL"}
_SOURCE_TYPES |= dict.fromkeys((5, 1000), "UNKNOWN")
_KNOWN = frozenset(
    "run_id run_uuid experiment_id run_name user_id start_time end_time status artifact_uri"
    " lifecycle_stage tags source_type".split()
)
# Keys that each MLflow version writes, at or near the end of the file.
_REQUIRED = ("start_time", "status")
_NAME_TAG = "mlflow.runName"
_TEXT_FIELDS = frozenset({"source_name", "source_version", "entry_point_name"})
_DATASET_KEYS = ("name", "digest", "source_type", "source", "schema", "profile")
_MAX_DATASETS = 1000


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


class OwnedFolder(NamedTuple):
    """The folder of a logged model or a trace, and the run that created it.

    ``item_id`` is a model's id as in its ``meta.yaml``, or the name of a trace's folder.
    """

    path: str
    item_id: str
    source_run_id: str | None
    experiment: ExperimentFolder


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
    if start_of(path, len(_SQLITE)) == _SQLITE:
        reason = "is a database with its own runs; convert it separately, with --artifacts"
        files.report(path, reason, decoding.CONTENT)
    else:
        files.report_unknown_file(path)


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
        lost = "the experiment's name, times and artifact location"
        files.report(entry.path, decoding.NO_META, lost)
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
    parts = ("artifacts", *_RUN_PARTS)
    return any(
        os.path.lexists(os.path.join(name, META))
        or any(os.path.isdir(os.path.join(name, part)) for part in parts)
        for name in names
    )


def experiment_record(files: StoreFiles, experiment: ExperimentFolder) -> Experiment | None:
    """Return the state of an experiment; None if its folder has only runs."""
    meta = experiment.meta
    path = os.path.join(experiment.path, META)
    files.report_bad_times(path, meta, ("creation_time", "last_update_time"))
    tags = {**meta.tags(), **files.values(os.path.join(experiment.path, "tags"))}
    if not experiment.described and not tags:
        return None
    return Experiment(
        experiment.experiment_id,
        experiment.name,
        meta.text("artifact_location"),
        meta.time("creation_time"),
        meta.time("last_update_time"),
        DELETED if experiment.deleted else "active",
        tags,
        meta.others(_KNOWN_OF_EXPERIMENTS),
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
        meta.time("start_time"),
        DELETED if deleted else "active",
        f"{experiment.key}/{folder.name}",
    )


def check_run(files: StoreFiles, path: str, meta: Meta) -> None:
    """Report invalid and missing values in the ``meta.yaml`` of a run."""
    files.report_unknown_status(path, meta.status(_STATUSES), _STATUSES)
    files.report_bad_times(path, meta, ("start_time", "end_time", "deleted_time"))
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
        meta.time("end_time"),
        ref.lifecycle,
        meta.text("artifact_uri"),
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
    # A commit may consist of digits.
    fields |= {key: meta.text(key) for key in fields.keys() & _TEXT_FIELDS}
    if "deleted_time" in fields:
        fields["deleted_time"] = meta.time("deleted_time")
    source_type = meta.get("source_type")
    if source_type not in (None, ""):
        word = _SOURCE_TYPES.get(to_whole(source_type), str(source_type))
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
                    datasets.append({**dataset, "tags": meta.tags()})
            else:
                models.append(source)
        datasets.sort(key=lambda dataset: (str(dataset["name"]), str(dataset["digest"])))
        return datasets, sorted(models)

    def outputs(self, run: str) -> list[tuple[str, int]]:
        """Return pairs of id and step of the models that a run logged as outputs, sorted."""
        outputs = []
        for path, meta in self._described(os.path.join(run, "outputs")):
            # Source, destination and folder all have the id of the model.
            folder = os.path.dirname(path)
            model = meta.text("destination_id", "source_id") or os.path.basename(folder)
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
        folders = (os.path.dirname(folder), folder)
        if all(map(self._files.has_folder, folders)) and os.path.lexists(path):
            meta = self._files.meta(path)
            dataset = {key: meta.text(key) for key in _DATASET_KEYS}
            dataset |= {key: value for key, value in meta.items() if key not in dataset and value}
        if len(self._datasets) > _MAX_DATASETS:
            self._datasets.clear()
        self._datasets[folder] = dataset
        return dataset
