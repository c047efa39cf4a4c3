"""What runs and other contents of a server share: models, traces and artifacts."""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

from yprov_mlflow.prov import serialize
from yprov_mlflow.prov.events import Event
from yprov_mlflow.prov.layout import OWN_ARTIFACT
from yprov_mlflow.prov.sources.artifact_finder import ArtifactFinder, File, root_of
from yprov_mlflow.prov.sources.rest.server_client import NotOffered, Refused, Server
from yprov_mlflow.prov.sources.source import Problem
from yprov_mlflow.prov.sources.state_events import (
    IN_DATABASE,
    SPANS_LOCATION,
    TRACE_LOCATION,
    EventFactory,
    batches,
)
from yprov_mlflow.prov.state import Trace

_PAGE = 100
_EXPERIMENTS = 50  # experiments in one request
_TRACE_ORDER = ("attributes.timestamp_ms ASC",)

Ids = dict[str, set[str]]


class Index:
    """Logged models by run, read once: a server cannot search models by run.

    ``unlisted`` are the roots of artifact stores that the client cannot list.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._experiments: list[Any] | None = None
        self._models: tuple[Ids, Ids] | None = None
        self.unlisted: set[str] = set()

    def experiments(self) -> list[Any]:
        """Return all experiments as MLflow's objects, deleted ones last."""
        if self._experiments is None:
            from mlflow.entities import ViewType

            search = self._server.store.search_experiments
            pages = self._server.pages(search, view_type=ViewType.ALL, max_results=1000)
            self._experiments = sorted(
                pages, key=lambda e: (e.lifecycle_stage == "deleted", str(e.experiment_id))
            )
        return self._experiments

    def models(self, run_id: str | None) -> list[str]:
        """Return the ids of the models that the run created; for None, of those without one."""
        return sorted(self._read()[0].get(run_id or "", ()))

    def measured(self, run_id: str) -> list[str]:
        """Return the ids of the models that have metrics from the run."""
        return sorted(self._read()[1].get(run_id, ()))

    def sources(self) -> set[str]:
        """Return the ids of all runs that created models."""
        return set(self._read()[0]) - {""}

    def _read(self) -> tuple[Ids, Ids]:
        """Return the ids of models by the run that created them, and by those with metrics."""
        if self._models is None:
            created: Ids = defaultdict(set)
            measured: Ids = defaultdict(set)
            with suppress(NotOffered):
                for model in self._search_models():
                    created[model.source_run_id or ""].add(model.model_id)
                    for metric in model.metrics or ():
                        measured[metric.run_id or ""].add(model.model_id)
            self._models = created, measured
        return self._models

    def _search_models(self) -> Iterator[Any]:
        # MLflow before 3 lacks logged models.
        search = getattr(self._server.store, "search_logged_models", None)
        ids = (str(experiment.experiment_id) for experiment in self.experiments())
        for batch in batches(ids, _EXPERIMENTS):
            yield from self._server.pages(search, experiment_ids=batch, max_results=_PAGE)


@dataclasses.dataclass
class Reading:
    """Everything that is needed to read one run, or the contents that belong to no run."""

    server: Server
    events: EventFactory
    index: Index
    artifacts: ArtifactFinder
    report: Callable[[Problem], None]

    def guard(self, where: str, lost: str, events: Iterable[Event]) -> Iterator[Event]:
        """Yield events for as long as the server provides them; then report a problem."""
        try:
            yield from events
        except Refused as error:
            self.report(Problem(where, f"the server does not provide it: {error}", lost))

    # -- models ------------------------------------------------------------------------

    def model(self, model_id: str) -> Any:
        """Return a logged model as MLflow's object."""
        return self.server.ask(self.server.store.get_logged_model, model_id)

    def logged_model(self, model_id: str) -> Iterator[Event]:
        """Yield the creation of a logged model."""
        yield from self.events.logged_model(serialize.logged_model(self.model(model_id)))

    def model_artifacts(self, model_id: str) -> Iterator[Event]:
        """Yield the files of a logged model."""
        uri = self.model(model_id).artifact_location
        list_files = getattr(self.server.client, "list_logged_model_artifacts", None)
        files = self.files(uri, model_id, list_files)
        yield from self.events.artifacts(files, ("model", model_id))

    # -- traces ------------------------------------------------------------------------

    def search_traces(
        self, experiment_id: str | None, run_id: str | None
    ) -> Iterator[tuple[Trace, list[dict[str, Any]]]]:
        """Yield the traces of a run, or of an experiment, each with its assessments.

        The traces of a run may be in any experiment.
        """
        ids = (str(experiment.experiment_id) for experiment in self.index.experiments())
        # MLflow before 2.13 lacks traces.
        search = getattr(self.server.store, "search_traces", None)
        options: dict[str, Any] = {"max_results": _PAGE, "order_by": list(_TRACE_ORDER)}
        if run_id is not None:
            options["filter_string"] = f"attribute.run_id = '{run_id}'"
        for batch in batches(ids if experiment_id is None else [experiment_id], _EXPERIMENTS):
            for entity in self.server.pages(search, batch, **options):
                assessments = getattr(entity, "assessments", None) or ()
                yield serialize.trace(entity), [serialize.assessment(a) for a in assessments]

    def trace(self, trace: Trace, assessments: list[dict[str, Any]]) -> Iterator[Event]:
        """Yield a trace with its spans, assessments and files."""
        trace_id = trace.trace_id
        yield self.events.trace(trace)
        yield from self.guard(f"trace {trace_id}", "spans", self._spans(trace_id))
        for assessment in sorted(
            assessments, key=lambda a: (a.get("create_time_ms") or 0, str(a.get("assessment_id")))
        ):
            yield self.events.assessment(trace_id, assessment)
        uri = trace.tags.get(TRACE_LOCATION)
        if uri and trace.tags.get(SPANS_LOCATION) != IN_DATABASE:
            folder, _ = self.artifacts.find(uri, trace_id)
            files = self.artifacts.list_files(folder) if folder is not None else []
            yield from self.events.artifacts(files, ("trace", trace_id))

    def _spans(self, trace_id: str) -> Iterator[Event]:
        trace = self.server.ask(self.server.client.get_trace, trace_id, display=False)
        spans = [span.to_dict() for span in trace.data.spans]
        spans.sort(key=lambda s: (s.get("parent_span_id") is not None, s["start_time_unix_nano"]))
        yield from self.events.spans(trace_id, json.loads(json.dumps(spans, default=str)))

    # -- artifacts ---------------------------------------------------------------------

    def files(
        self, uri: str | None, owner: str, list_files: Callable[..., Any] | None
    ) -> list[File]:
        """Return artifacts, with hashes if the files are reachable from here.

        Others are listed through MLflow's client, which gives names and sizes alone.
        """
        if not uri:
            return []
        folder, reachable = self.artifacts.find(uri, owner)
        if folder is not None:
            return self.artifacts.list_files(folder)
        root = root_of(uri, owner)
        if reachable or root in self.index.unlisted:
            return []
        # A plain path is one on the server's machine. The client would look for it on this one.
        remote = ":" in uri and not uri.startswith("file:")
        reason = "artifacts are on another machine that does not serve them"
        if remote and list_files is not None:
            try:
                return self._list_remote(list_files, owner)
            except (Refused, ImportError) as error:
                self.index.unlisted.add(root)
                reason = f"artifacts cannot be listed: {error}"
        self.artifacts.report_unreachable(uri, owner, reason)
        return []

    def _list_remote(self, list_files: Callable[..., Any], owner: str) -> list[File]:
        files: list[File] = []
        folders: list[str | None] = [None]
        while folders:
            for info in self.server.ask(list_files, owner, folders.pop()):
                if info.is_dir:
                    folders.append(info.path)
                elif not OWN_ARTIFACT.match(info.path):
                    files.append({"path": info.path, "size": info.file_size, "sha256": None})
        return sorted(files, key=lambda file: str(file["path"]))
