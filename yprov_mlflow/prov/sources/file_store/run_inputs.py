"""Inputs and outputs of a run: the data sets and models that its folder names."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from yprov_mlflow.prov.events import Json
from yprov_mlflow.prov.sources.file_store.meta import META, read_meta, text_of, whole_of
from yprov_mlflow.prov.sources.file_store.tree_files import Files, is_name

_DATASET = ("name", "digest", "source_type", "source", "schema", "profile")


class Links:
    """Reads inputs and outputs; remembers the data sets of the last experiments."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._datasets: dict[str, dict[str, Json] | None] = {}

    def inputs(self, run: str, experiment: str) -> tuple[list[dict[str, Any]], list[str]]:
        """Give the data sets and the ids of the models that a run read, both by name."""
        datasets: list[dict[str, Any]] = []
        models: list[str] = []
        for path, meta in self._described(os.path.join(run, "inputs")):
            kind, source = text_of(meta, "source_type"), text_of(meta, "source_id")
            if source is None or kind not in ("DATASET", "MODEL", "MODEL_INPUT"):
                self._files.report(path, f"is an input of an unknown kind: {kind!r}", "the input")
            elif kind == "DATASET" and not is_name(source):
                reason = f"names a data set that is no name of one: {source!r}"
                self._files.report(path, reason, "the data set")
            elif kind == "DATASET":
                dataset = self._dataset(os.path.join(experiment, "datasets", source))
                if dataset is None:
                    reason = f"names data set {source}, which is not there"
                    self._files.report(path, reason, "the data set")
                else:
                    datasets.append({**dataset, "tags": _texts(meta.get("tags"))})
            else:
                models.append(source)
        datasets.sort(key=lambda found: (str(found["name"]), str(found["digest"])))
        return datasets, sorted(models)

    def outputs(self, run: str) -> list[tuple[str, int]]:
        """Give ids of models that a run put out, with their steps, by id."""
        found = []
        for path, meta in self._described(os.path.join(run, "outputs")):
            # Both ends name the model; the folder has its name, too.
            model = text_of(meta, "destination_id", "source_id") or _folder(path)
            kind = text_of(meta, "destination_type")
            if kind not in (None, "MODEL_OUTPUT"):
                self._files.report(path, f"is an output of an unknown kind: {kind!r}", "the output")
                continue
            found.append((model, whole_of(meta, "step") or 0))
        return sorted(found)

    def dataset_folders(self, run: str, experiment: str) -> list[str]:
        """Give the folders of the data sets that a run read."""
        return [
            os.path.join(experiment, "datasets", source)
            for _, meta in self._described(os.path.join(run, "inputs"))
            if meta.get("source_type") == "DATASET"
            and (source := text_of(meta, "source_id"))
            and is_name(source)
        ]

    def unused(self, experiment: str, runs: Iterable[str]) -> list[dict[str, Json]]:
        """Give the data sets of an experiment that none of its runs read."""
        folder = os.path.join(experiment, "datasets")
        if not self._files.has_folder(folder):
            return []
        quiet = Links(self._files.quiet)
        used = {path for run in runs for path in quiet.dataset_folders(run, experiment)}
        left = [path for path, _ in self._described(folder) if os.path.dirname(path) not in used]
        found = [(path, self._dataset(os.path.dirname(path))) for path in left]
        return [{"dataset_uuid": _folder(path), **one} for path, one in found if one is not None]

    def _described(self, folder: str) -> list[tuple[str, dict[str, Json]]]:
        found = []
        for entry in self._files.folders(folder):
            path = os.path.join(entry.path, META)
            if os.path.lexists(path):
                found.append((path, read_meta(self._files, path)))
            else:
                self._files.report(entry.path, "has no meta.yaml", "what it stood for")
        return found

    def _dataset(self, folder: str) -> dict[str, Json] | None:
        if folder in self._datasets:
            return self._datasets[folder]
        found: dict[str, Json] | None = None
        path = os.path.join(folder, META)
        top = os.path.dirname(folder)
        if self._files.has_folder(top) and self._files.has_folder(folder) and os.path.lexists(path):
            meta = read_meta(self._files, path)
            found = {key: text_of(meta, key) for key in _DATASET}
            found |= {key: value for key, value in meta.items() if key not in found and value}
        if len(self._datasets) > 1000:
            self._datasets.clear()
        self._datasets[folder] = found
        return found


def _folder(path: str) -> str:
    """Give the name of the folder that a file is in."""
    return os.path.basename(os.path.dirname(path))


def _texts(found: Json) -> dict[str, str]:
    if not isinstance(found, Mapping):
        return {}
    return {key: value if isinstance(value, str) else str(value) for key, value in found.items()}
