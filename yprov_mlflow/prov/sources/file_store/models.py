"""Models of a file store: logged ones with metric points that runs share, and the registry."""

from __future__ import annotations

import itertools
import os
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from yprov_mlflow.prov.events import Event
from yprov_mlflow.prov.sources.file_store import decoding
from yprov_mlflow.prov.sources.file_store.meta import META, Meta
from yprov_mlflow.prov.sources.file_store.metric_lines import Dataset, MetricFile, Row
from yprov_mlflow.prov.sources.file_store.runs import MODELS, ExperimentFolder, OwnedFolder
from yprov_mlflow.prov.sources.file_store.store_files import FileEntry, StoreFiles
from yprov_mlflow.prov.sources.state_events import EventFactory
from yprov_mlflow.prov.state import LoggedModel, ModelVersion, RegisteredModel, VersionNumber

_STATUSES = {0: None, 1: "PENDING", 2: "READY", 3: "FAILED"}
_KNOWN = frozenset(
    "model_id name model_type status experiment_id artifact_location creation_timestamp"
    " last_updated_timestamp lifecycle_stage source_run_id status_message tags".split()
)
_TIMES = ("creation_timestamp", "last_updated_timestamp")
_PARTS = frozenset({"metrics", "params", "tags", "artifacts"})
_VERSION = re.compile(r"version-(.+)\Z")
_KNOWN_OF_MODELS = frozenset(
    "name description tags aliases creation_timestamp last_updated_timestamp latest_versions"
    " latest_version".split()
)
_KNOWN_OF_VERSIONS = frozenset(
    "name version source run_id run_link description tags aliases user_id creation_timestamp"
    " last_updated_timestamp status status_message storage_location model_id"
    " current_stage".split()
)
# Points of a model's metric that wait to be matched with points of a run.
_WINDOW = 1 << 16


def read_models(files: StoreFiles, experiment: ExperimentFolder) -> Iterator[OwnedFolder]:
    """Yield the logged models of an experiment, sorted by folder."""
    for entry in model_folders(files, experiment):
        meta = files.folder_meta(entry.path)
        model_id = meta.text("model_id") or files.name_of(entry)
        yield OwnedFolder(entry.path, model_id, meta.text("source_run_id"), experiment)


def model_folders(files: StoreFiles, experiment: ExperimentFolder) -> list[os.DirEntry[str]]:
    """Return the folders of an experiment's logged models; report other entries."""
    folders = []
    for entry in files.folders(os.path.join(experiment.path, "models")):
        if any(os.path.lexists(os.path.join(entry.path, part)) for part in (META, *_PARTS)):
            folders.append(entry)
        else:
            reason = "is not a logged model: it has no meta.yaml"
            files.report(entry.path, reason, decoding.THE_FOLDER)
    return folders


def model_record(files: StoreFiles, model: OwnedFolder) -> LoggedModel:
    """Return the state of a logged model."""
    meta, _ = files.described_parts(model.path, _PARTS, "its name, type, status and times")
    status = meta.status(_STATUSES)
    path = os.path.join(model.path, META)
    files.report_unknown_status(path, status, _STATUSES)
    files.report_bad_times(path, meta, _TIMES)
    # Unlike Meta.others, keep 0 and false.
    fields = {
        key: value
        for key, value in meta.items()
        if key not in _KNOWN and value not in (None, "", [], {})
    }
    experiment_id = meta.text("experiment_id")
    if experiment_id not in (None, model.experiment.experiment_id):
        fields["experiment_id"] = experiment_id
    return LoggedModel(
        model.item_id,
        model.experiment.experiment_id,
        meta.text("name"),
        meta.text_or_empty("model_type"),
        status,
        meta.text_or_empty("status_message"),
        meta.text("artifact_location"),
        meta.text_or_empty("source_run_id"),
        meta.time("creation_timestamp"),
        meta.time("last_updated_timestamp"),
        meta.text("lifecycle_stage") or "active",
        fields,
        files.values(os.path.join(model.path, "params")),
        {**meta.tags(), **files.values(os.path.join(model.path, "tags"))},
    )


# -- metric points -----------------------------------------------------------------------


def metric_files(files: StoreFiles, model: OwnedFolder) -> Iterator[FileEntry]:
    """Return an iterator over the metric files of a model."""
    folder = os.path.join(model.path, "metrics")
    return files.walk(folder) if files.has_folder(folder) else iter(())


def runs_measured(files: StoreFiles, model: OwnedFolder) -> set[str]:
    """Return the ids of the runs in the model's metric points."""
    run_ids: set[bytes] = set()
    for entry in metric_files(files, model):
        for data in MetricFile(files, entry.path).blocks():
            for line in data.split(b"\n"):
                parts = line.split(b" ", 4)
                if len(parts) > 3:
                    run_ids.add(parts[3].strip())
    return {run_id.decode("utf-8", "replace") for run_id in run_ids}


class SharedPoints:
    """Points of one metric of a model, which a run may have as well.

    MLflow writes such a point to the run's file and to the model's, and only the latter says that
    they belong together. Both are written in the same order. Therefore a window of the model's
    points suffices to find the run's, and memory stays bounded.
    """

    def __init__(
        self, files: StoreFiles, model: OwnedFolder, entry: FileEntry, run_id: str
    ) -> None:
        self.model_id = model.item_id
        self.key = entry.name
        blocks = MetricFile(files, entry.path, of_model=True).columns()
        self._rows = (row for block in blocks for row in block.rows() if row[4] == run_id)
        self._window: Counter[tuple[int, str, int, Dataset | None]] = Counter()
        self._count = 0
        self._run_id = run_id

    def take(self, row: Row) -> bool:
        """Return whether the model has this point, and remove it from those that remain."""
        # Refilled by halves, so that points a little ahead of the run's are in the window, too.
        if self._count < _WINDOW // 2:
            for candidate in itertools.islice(self._rows, _WINDOW // 2):
                self._window[_comparable(candidate)] += 1
                self._count += 1
        point = _comparable(row)
        if not self._window[point]:
            return False
        self._window[point] -= 1
        self._count -= 1
        return True

    def remaining(self) -> Iterator[dict[str, Any]]:
        """Yield the points that no run has, as arguments of calls."""
        for timestamp, value, step, dataset in self._window.elements():
            yield point_argument(self.key, (timestamp, float(value), step, dataset, self._run_id))
        for row in self._rows:
            yield point_argument(self.key, row)


def _comparable(row: Row) -> tuple[int, str, int, Dataset | None]:
    # As text, NaN equals NaN and -0.0 differs from 0.0.
    return row[0], repr(row[1]), row[2], row[3]


def point_argument(key: str, row: Row) -> dict[str, Any]:
    """Return a model's metric point as an argument of ``log_logged_model_metrics``."""
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


# -- registry ----------------------------------------------------------------------------


def registry_events(files: StoreFiles, events: EventFactory) -> Iterator[Event]:
    """Yield the events of all registered models, each with its versions and aliases."""
    used: set[str] = set()
    for entry in files.folders(os.path.join(files.root, MODELS)):
        yield from _model_events(files, events, entry, used)


def _model_events(
    files: StoreFiles, events: EventFactory, entry: os.DirEntry[str], used: set[str]
) -> Iterator[Event]:
    strays, folders = files.scan(entry.path)
    described = any(stray.name == META for stray in strays)
    versions = sorted(_version_folders(files, folders))
    if not described and not versions:
        reason = "is not a registered model: it has no meta.yaml"
        files.report(entry.path, reason, decoding.THE_FOLDER)
        return
    for stray in strays:
        if stray.name != META:
            files.report_unknown_file(stray.path)
    path = os.path.join(entry.path, META)
    if not described:
        files.report(entry.path, decoding.NO_META, "the model's description and times")
    meta = files.meta(path) if described else Meta()
    folder_name = files.name_of(entry)
    name = files.resolve_name(path, meta.text("name"), entry.path, folder_name, used)
    used.add(name)
    files.report_bad_times(path, meta, _TIMES)
    model = RegisteredModel(
        name,
        meta.text_or_empty("description"),
        meta.time("creation_timestamp"),
        meta.time("last_updated_timestamp"),
        {**meta.tags(), **files.values(os.path.join(entry.path, "tags"))},
        fields=meta.others(_KNOWN_OF_MODELS),
    )
    yield events.registered_model(model)
    for _, number, folder in versions:
        yield from events.model_version(name, _version(files, number, folder))
    model.aliases = _aliases(files, entry.path, meta)
    yield from events.aliases(model)


def _version_folders(
    files: StoreFiles, folders: list[os.DirEntry[str]]
) -> Iterator[tuple[tuple[int, str], str, str]]:
    """Yield sort key, version number and path of each version's folder."""
    for folder in folders:
        if match := _VERSION.match(folder.name):
            text = match[1]
            # By number: version 10 comes after version 9. Others come first, by name.
            number = int(text) if text.isascii() and text.isdigit() else -1
            yield (number, text), text, folder.path
        elif folder.name not in ("tags", "aliases"):
            files.report(folder.path, "is not a version of the model", decoding.THE_FOLDER)


def _version(files: StoreFiles, number: str, folder: str) -> ModelVersion:
    lost = "the version's source, run, stage and times"
    meta, _ = files.described_parts(folder, {"tags"}, lost)
    files.report_bad_times(os.path.join(folder, META), meta, _TIMES)
    texts = ("run_id", "run_link", "description", "user_id", "status_message")
    fields = {
        **{name: meta.text_or_empty(name) for name in texts},
        "source": meta.text("source"),
        "storage_location": meta.text("storage_location"),
        "status": meta.text("status"),
        "model_id": meta.text("model_id"),
        "creation_time": meta.time("creation_timestamp"),
        "last_updated_time": meta.time("last_updated_timestamp"),
        **meta.others(_KNOWN_OF_VERSIONS),
    }
    tags = {**meta.tags(), **files.values(os.path.join(folder, "tags"))}
    version = meta.text("version") or number
    return ModelVersion(version, meta.text("current_stage"), fields, tags)


def _aliases(files: StoreFiles, folder: str, meta: Meta) -> dict[str, VersionNumber]:
    """Return the aliases: a file each, with those in ``meta.yaml`` as fallback."""
    path = os.path.join(folder, "aliases")
    if files.has_folder(path):
        return {alias: version.strip() for alias, version in files.values(path).items()}
    aliases = meta.get("aliases")
    if not isinstance(aliases, dict):
        return {}
    return {str(alias): str(version) for alias, version in aliases.items()}
