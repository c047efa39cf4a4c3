"""What both a run and what belongs to none need of a server: models, traces, artifacts."""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from yprov_mlflow.prov.events import ArtifactsLogged, Event
from yprov_mlflow.prov.ids import OF_CAPTURE
from yprov_mlflow.prov.sources.rest import plain_records
from yprov_mlflow.prov.sources.rest.server_client import NotOffered, Refused, Server
from yprov_mlflow.prov.sources.source import Problem
from yprov_mlflow.prov.sources.sql.artifacts import Artifacts, File, root_of
from yprov_mlflow.prov.sources.sql.event_factory import (
    IN_DATABASE,
    SPANS_LOCATION,
    TRACE_LOCATION,
    Entries,
)

_PAGE = 100
_MANY = 50
"""Experiments named in one request."""
_TIMES = ("attributes.timestamp_ms ASC",)


class Index:
    """Which logged models are of which run; read once, as a server cannot be asked by run."""

    def __init__(self, server: Server) -> None:
        """Name the server."""
        self._server = server
        self._own: dict[str, list[str]] | None = None
        self._measured: dict[str, list[str]] = {}
        self._experiments: list[Any] | None = None

    def experiments(self) -> list[Any]:
        """Give MLflow's objects of all experiments, deleted ones last."""
        if self._experiments is None:
            from mlflow.entities import ViewType

            server = self._server
            found = server.pages(
                server.store.search_experiments, view_type=ViewType.ALL, max_results=1000
            )
            self._experiments = sorted(
                found, key=lambda one: (one.lifecycle_stage == "deleted", str(one.experiment_id))
            )
        return self._experiments

    def models(self, run_id: str | None) -> list[str]:
        """Give the ids of the models whose source the run is; with None, of those without."""
        return self._read().get(run_id or "", [])

    def measured(self, run_id: str) -> list[str]:
        """Give the ids of the models that have metrics from the run."""
        self._read()
        return self._measured.get(run_id, [])

    def sources(self) -> set[str]:
        """Give the ids of all runs that are sources of models."""
        return set(self._read()) - {""}

    def _read(self) -> dict[str, list[str]]:
        if self._own is None:
            own: dict[str, set[str]] = defaultdict(set)
            measured: dict[str, set[str]] = defaultdict(set)
            try:
                for model in self._models():
                    own[model.source_run_id or ""].add(model.model_id)
                    for metric in model.metrics or ():
                        measured[metric.run_id or ""].add(model.model_id)
            except NotOffered:
                # MLflow before 3 has no logged models.
                own.clear()
            self._own = {run_id: sorted(ids) for run_id, ids in own.items()}
            self._measured = {run_id: sorted(ids) for run_id, ids in measured.items()}
        return self._own

    def _models(self) -> Iterator[Any]:
        ids = [str(one.experiment_id) for one in self.experiments()]
        for start in range(0, len(ids), _MANY):
            some = ids[start : start + _MANY]
            search = getattr(self._server.store, "search_logged_models", None)
            if search is None:
                raise NotOffered("MLflow before 3 has no logged models")
            yield from self._server.pages(search, experiment_ids=some, max_results=_PAGE)


@dataclasses.dataclass
class Reading:
    """One reading of a run, or of what belongs to none: whom to ask, what to make, whom to tell."""

    server: Server
    entries: Entries
    index: Index
    artifacts: Artifacts
    report: Callable[[Problem], None]
    unlisted: set[str]

    def saved(self, where: str, lost: str, found: Iterable[Event]) -> Iterator[Event]:
        """Give events for as long as the server does; the rest becomes a problem."""
        try:
            yield from found
        except Refused as error:
            self.report(Problem(where, f"the server does not give it: {error}", lost))

    # -- models ------------------------------------------------------------------------

    def model(self, model_id: str) -> Any:
        """Give MLflow's object of a logged model."""
        return self.server.ask(self.server.store.get_logged_model, model_id)

    def logged_model(self, model_id: str) -> Iterator[Event]:
        """Give the creation of a logged model."""
        found = self.model(model_id)
        params, tags = dict(found.params or {}), dict(found.tags or {})
        record = plain_records.logged_model(found)
        params, tags = dict(sorted(params.items())), dict(sorted(tags.items()))
        yield from self.entries.logged_model(record, params, tags)

    def model_artifacts(self, model_id: str) -> Iterator[Event]:
        """Give the files of a logged model."""
        uri = self.model(model_id).artifact_location
        list_files = getattr(self.server.client, "list_logged_model_artifacts", None)
        files = self.files(uri, model_id, list_files)
        if files:
            yield self.entries.event(ArtifactsLogged, files, ("model", model_id))

    # -- traces ------------------------------------------------------------------------

    def traces_of(self, experiment_id: str, run_id: str | None) -> Iterator[tuple[Any, Any]]:
        """Give the traces of a run, or of an experiment: as records and MLflow's objects."""
        store = self.server.store
        search = getattr(store, "search_traces", None)
        if search is None:
            raise NotOffered("MLflow before 2.13 has no traces")
        options: dict[str, Any] = {"max_results": _PAGE, "order_by": list(_TIMES)}
        if run_id is not None:
            options["filter_string"] = f"attribute.run_id = '{run_id}'"
        for found in self.server.pages(search, [experiment_id], **options):
            yield plain_records.trace(found), found

    def trace(self, info: Any, entity: Any) -> Iterator[Event]:
        """Give a trace with its spans and assessments."""
        trace_id = str(info["trace_id"])
        yield self.entries.trace(info)
        where = f"trace {trace_id}"
        yield from self.saved(where, "spans", self._spans(trace_id))
        found = [
            plain_records.assessment(one) for one in getattr(entity, "assessments", None) or ()
        ]
        found.sort(key=lambda a: (a.get("create_time_ms") or 0, str(a.get("assessment_id"))))
        for one in found:
            yield self.entries.assessment({"trace_id": trace_id, **one})
        yield from self._trace_artifacts(info, trace_id)

    def _trace_artifacts(self, info: Any, trace_id: str) -> Iterator[Event]:
        tags = info["tags"]
        uri = tags.get(TRACE_LOCATION)
        if not uri or tags.get(SPANS_LOCATION) == IN_DATABASE:
            return
        folder, _ = self.artifacts.find(uri, trace_id)
        files = self.artifacts.listed(folder) if folder is not None else []
        if files:
            yield self.entries.event(ArtifactsLogged, files, ("trace", trace_id))

    def _spans(self, trace_id: str) -> Iterator[Event]:
        trace = self.server.ask(self.server.client.get_trace, trace_id, display=False)
        spans = [one.to_dict() for one in trace.data.spans]
        spans.sort(key=lambda s: (s.get("parent_span_id") is not None, s["start_time_unix_nano"]))
        yield from self.entries.spans(trace_id, json.loads(json.dumps(spans, default=str)))

    # -- artifacts ---------------------------------------------------------------------

    def files(
        self, uri: str | None, owner: str, list_files: Callable[..., Any] | None
    ) -> list[File]:
        """List artifacts, with hashes where they can be read here and without them elsewhere."""
        if not uri:
            return []
        folder, within_reach = self.artifacts.find(uri, owner)
        if folder is not None:
            return self.artifacts.listed(folder)
        root = root_of(uri, owner)
        # A path is one of the server's machine; MLflow's client would look for it on this one.
        elsewhere = ":" in uri and not uri.startswith("file:")
        if within_reach or root in self.unlisted:
            return []
        if not elsewhere or list_files is None:
            self.artifacts.miss(uri, owner, "artifacts are on another machine, and not served")
            return []
        try:
            return self._remote(list_files, owner)
        except (Refused, ImportError) as error:
            self.unlisted.add(root)
            self.artifacts.miss(uri, owner, f"artifacts cannot be listed: {error}")
            return []

    def _remote(self, list_files: Callable[..., Any], owner: str) -> list[File]:
        found: list[File] = []
        folders: list[str | None] = [None]
        while folders:
            for info in self.server.ask(list_files, owner, folders.pop()):
                if info.is_dir:
                    folders.append(info.path)
                elif not OF_CAPTURE.match(info.path):
                    found.append({"path": info.path, "size": info.file_size, "sha256": None})
        return sorted(found, key=lambda file: str(file["path"]))
