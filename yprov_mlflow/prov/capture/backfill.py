"""Reading back from a run's store, as events, what the run's journals lack."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from mlflow.exceptions import MlflowException

from yprov_mlflow.prov import events, serialize
from yprov_mlflow.prov.capture import mlflow_private
from yprov_mlflow.prov.capture.run_artifacts import RunArtifacts
from yprov_mlflow.prov.capture.run_document import ExpectedState, journal_points
from yprov_mlflow.prov.capture.session import CaptureSession
from yprov_mlflow.prov.capture.store_answers import point_of, stored_point
from yprov_mlflow.prov.events import STORE_SESSION, Event
from yprov_mlflow.prov.journal import JournalDirectory
from yprov_mlflow.prov.redaction import redact_event, redact_field
from yprov_mlflow.prov.serialize import integer
from yprov_mlflow.prov.sources.state_events import SOURCE_RUN, EventFactory
from yprov_mlflow.prov.translate.store_calls.spans import span_key

_MAX_FILES = 10_000
_PAGE = 500  # traces that the store is asked for at once
_MIN_TRUNCATED = 250  # characters; no version of MLflow truncates a value to fewer
_ABSENT = frozenset({"RESOURCE_DOES_NOT_EXIST", "ENDPOINT_NOT_FOUND"})


class StoreBackfill:
    """Compares the expected state of one run with its store, and returns the difference.

    If the journals are complete, the latest point of each metric agrees, so that one ``get_run``
    shows that there is nothing more to read.
    ``thorough`` compares every metric point, not only the latest of each metric.
    """

    def __init__(
        self,
        capture: CaptureSession,
        artifacts: RunArtifacts,
        folder: JournalDirectory,
        thorough: bool,
    ) -> None:
        self.capture = capture
        self.artifacts = artifacts
        self.store, self.run = artifacts.store, artifacts.run
        self.folder = folder
        self.thorough = thorough
        self._seq = 0

    def __call__(self, state: ExpectedState, complete: bool) -> Iterator[Event]:
        """Yield the missing events; all have the session ``STORE_SESSION``."""
        if state.joined:
            info = self.run.info
            fields = self.capture.creation_fields(self.store, info, {})
            yield self._event(events.RunCreated, *fields, time_ms=info.start_time or 0)
        yield from self._info(state)
        yield from self._params_and_tags(state)
        yield from self._metrics(state, thorough=self.thorough or state.joined or not complete)
        yield from self._inputs_and_outputs(state, complete)
        is_doubtful = self.thorough or state.joined or not complete
        if is_doubtful:
            yield from self._traces(state)
        yield from self._spans(state, complete)
        if is_doubtful:
            yield from self._artifacts()

    def _event(self, cls: type[Event], *fields: Any, time_ms: int = 0) -> Event:
        self._seq += 1
        fields = redact_event(cls.kind, fields)
        return cls(self.folder.run_id, STORE_SESSION, self._seq - 1, time_ms * 1_000_000, *fields)

    def _info(self, state: ExpectedState) -> Iterator[Event]:
        info = self.run.info
        run_name = redact_field("", info.run_name)
        pairs = (
            (info.status, state.status if state.joined else state.status or "RUNNING"),
            (info.end_time, state.end_time_ms),
            # The event of the run's creation has the name.
            (run_name, run_name if state.joined else state.run_name),
            (info.lifecycle_stage, state.lifecycle or "active"),
        )
        changes = [stored if stored != expected else None for stored, expected in pairs]
        if any(changes):
            yield self._event(events.RunUpdated, *changes, time_ms=changes[1] or 0)

    def _params_and_tags(self, state: ExpectedState) -> Iterator[Event]:
        data = self.run.data
        for cls, stored, logged in (
            (events.ParamsLogged, data.params, state.params),
            (events.TagsSet, data.tags, state.tags),
        ):
            # Journals are without secrets.
            stored = redact_field("", stored)
            if missing := {k: v for k, v in stored.items() if not _is_stored(logged.get(k), v)}:
                yield self._event(cls, missing)
        # A deletion that the journals lost; no client can take a tag back in another way.
        if deleted := state.tags.keys() - data.tags.keys():
            # Another thread or process may have set it since the run was read.
            deleted -= self.store.get_run(self.folder.run_id).data.tags.keys()
        for key in sorted(deleted):
            yield self._event(events.TagDeleted, key)

    def _metrics(self, state: ExpectedState, *, thorough: bool) -> Iterator[Event]:
        doubtful = [
            metric.key
            for metric in mlflow_private.latest_metrics(self.run)
            if thorough
            or (latest := state.metrics.get(metric.key)) is None
            or stored_point(metric.key, *latest) != point_of(metric)
        ]
        if not doubtful:
            return
        # Points may be equal: each one in the journals accounts for one in the store.
        journaled = Counter(
            stored_point(key, step, timestamp, value)
            for key, step, timestamp, value in journal_points(self.folder, frozenset(doubtful))
        )
        for key in sorted(doubtful):
            missing = []
            for metric in self.store.get_metric_history(self.folder.run_id, key):
                point = point_of(metric)
                if journaled[point] > 0:
                    journaled[point] -= 1
                else:
                    missing.append(_columns(metric))
            if missing:
                columns = map(list, zip(*missing, strict=True))
                yield self._event(events.MetricsLogged, [key] * len(missing), *columns)

    def _inputs_and_outputs(self, state: ExpectedState, complete: bool) -> Iterator[Event]:
        datasets = [
            serialize.dataset(item)
            for item in self._linked("inputs", "dataset_inputs")
            if (redact_field("", item.dataset.name), item.dataset.digest) not in state.datasets
        ]
        used = [item.model_id for item in self._linked("inputs", "model_inputs")]
        models = [model_id for model_id in used if model_id not in state.models_in]
        if datasets or models:
            yield self._event(events.InputsLogged, datasets, models)
        produced = self._linked("outputs", "model_outputs")
        outputs = [(m.model_id, m.step) for m in produced if m.model_id not in state.models_out]
        # A model that was deleted since must not cost the run its document.
        models_out = [_if_there(self.store.get_logged_model, model_id) for model_id, _ in outputs]
        created = [model for model in models_out if model is not None]
        if self.thorough or state.joined or not complete:
            created.extend(self._own_models())
        for model in {model.model_id: model for model in created}.values():
            if model.model_id not in state.models:
                yield self._event(events.ModelLogged, *serialize.logged_model_fields(model))
        if outputs:
            yield self._event(events.OutputsLogged, outputs)

    def _own_models(self) -> Iterator[Any]:
        """Yield the logged models that the run created."""
        # MLflow 2 has no logged models, neither in its clients nor in its servers.
        search = getattr(self.store, "search_logged_models", None)
        info, token, more = self.run.info, None, True
        query = f"source_run_id = '{info.run_id}'"
        while search is not None and more:
            page = _if_there(search, [info.experiment_id], query, page_token=token)
            yield from page or ()
            token = getattr(page, "token", None)
            more = bool(token)

    def _linked(self, direction: str, kind: str) -> Sequence[Any]:
        # Runs of MLflow 2 lack outputs, and models among their inputs.
        return getattr(getattr(self.run, direction, None), kind, None) or ()

    def _traces(self, state: ExpectedState) -> Iterator[Event]:
        """Yield the traces of the run that no journal has the start of, without their spans."""
        info, search = self.run.info, getattr(self.store, "search_traces", None)
        if search is None:  # MLflow before 2.13
            return
        query = {
            "experiment_ids": [str(info.experiment_id)],
            "filter_string": f"attribute.run_id = '{info.run_id}'",
            "max_results": _PAGE,
        }
        factory = EventFactory(info.run_id)
        for entity in self.capture.ask(list, mlflow_private.pages(search, **query)) or ():
            trace = serialize.trace(entity)
            is_own = trace.metadata.get(SOURCE_RUN) == info.run_id  # others are linked to it
            if is_own and trace.trace_id not in state.span_counts:
                state.span_counts[trace.trace_id] = None
                yield self._numbered(factory.trace(trace))
                for item in getattr(entity, "assessments", None) or ():
                    assessment = serialize.assessment(item)
                    yield self._numbered(factory.assessment(trace.trace_id, assessment))

    def _numbered(self, event: Event) -> Event:
        self._seq += 1
        return dataclasses.replace(event, seq=self._seq - 1)

    def _spans(self, state: ExpectedState, complete: bool) -> Iterator[Event]:
        """Yield spans whose events went to another process, such as a worker of a server."""
        for trace_id, count in sorted(state.span_counts.items()):
            captured = state.spans.get(trace_id, set())
            # A client journals all spans of its traces, a server those that reach this worker.
            is_enough = bool(captured) and not self.capture.server
            if count is not None:
                is_enough = len(captured) >= count
            if complete and is_enough:
                continue
            spans = self.capture.ask(
                mlflow_private.stored_spans, self.store, trace_id, self.capture.server
            )
            keys = [(span_key(span), span) for span in spans or ()]
            if missing := [
                span for key, span in keys if key is not None and key[1] not in captured
            ]:
                arguments = {"spans": missing}
                yield self._event(
                    events.StoreCalled, "log_spans", {"trace": trace_id}, arguments, None
                )

    def _artifacts(self) -> Iterator[Event]:
        journaled = {
            str(file["path"])
            for journal in self.folder.readers()[0]
            for event in journal
            if isinstance(event, events.ArtifactsLogged) and event.owner is None
            for file in event.files
        }
        if files := [f for f in self.artifacts.files(_MAX_FILES) if f["path"] not in journaled]:
            yield self._event(events.ArtifactsLogged, files)


def _if_there(question: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Return an answer of the store; None if it lacks the object, or such questions."""
    try:
        return question(*args, **options)
    except MlflowException as error:
        if error.error_code not in _ABSENT:
            raise
        return None


def _is_stored(logged: str | None, stored: str) -> bool:
    """Return whether the store has a logged value; MLflow may have truncated it."""
    is_truncated = len(stored) >= _MIN_TRUNCATED and (logged or "").startswith(stored)
    return logged == stored or is_truncated


def _columns(metric: Any) -> tuple[float, int, int]:
    """Return value, timestamp and step of a point."""
    return float(metric.value), integer(metric.timestamp), integer(metric.step or 0)
