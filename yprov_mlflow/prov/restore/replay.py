"""Replay events to the state that a store has after them: the last write wins."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import Any

from yprov_mlflow.prov import events as ev
from yprov_mlflow.prov import ids
from yprov_mlflow.prov.events import STORE_SESSION, ArtifactsLogged, Event, StoreCalled
from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.restore import experiments, registry, traces
from yprov_mlflow.prov.restore.calls import (
    Call,
    Handler,
    IncompleteCallError,
    delete_tag,
    required,
    set_tags,
)
from yprov_mlflow.prov.restore.restore_report import MALFORMED
from yprov_mlflow.prov.state import LoggedModel, Points, Run, StoreState

RUN_NAME = "mlflow.runName"

_SHARED = (ev.ModelLogged, ArtifactsLogged, StoreCalled)
"""Events about records that belong to no single run; others say how a run was observed."""

_MODEL_FIELDS = ("source_run_id", "last_updated_timestamp_ms", "status_message", "lifecycle")
_TABLE_ROWS = "record_"
"""Prefix of methods that hold the rows of a table without a record type."""


class StateBuilder:
    """Takes the events of one document after the other; returns runs at once.

    State that belongs to no single run is kept until ``finish``: many documents of live capture
    may have calls about it, and these count in the order of their times.
    """

    def __init__(self) -> None:
        self._shared: list[tuple[int, Event]] = []

    @property
    def count(self) -> int:
        """The number of events that belong to no single run, which are kept."""
        return len(self._shared)

    def feed(self, events: Iterable[Event]) -> Run | None:
        """Take the events of one document; return its run, or None for a store's document."""
        kept = len(self._shared)
        try:
            return self._feed(events)
        except MALFORMED:
            del self._shared[kept:]  # a document counts as a whole or not at all
            raise

    def _feed(self, events: Iterable[Event]) -> Run | None:
        run: Run | None = None
        for event in events:
            candidate = run or Run(event.run_id)
            if _apply_to_run(candidate, event):
                run = candidate
            elif isinstance(event, _SHARED):
                # Events that were read from a store lack a time and come first.
                time_ns = event.time_ns if isinstance(event, StoreCalled) else 0
                self._shared.append((time_ns, event))
        return run

    def finish(self) -> StoreState:
        """Return the state that belongs to no single run, and forget it."""
        state = self.peek()
        self._shared.clear()
        return state

    def peek(self) -> StoreState:
        """Return the state that belongs to no single run, as far as it was fed."""
        state = StoreState()
        self._shared.sort(key=lambda item: item[0])
        for _, event in self._shared:
            if isinstance(event, ev.ModelLogged):
                _on_model(state, event)
            elif isinstance(event, ArtifactsLogged):
                _on_owned_files(state, event)
            elif isinstance(event, StoreCalled):
                _on_call(state, event)
        return state


# -- runs --------------------------------------------------------------------------------


def _apply_to_run(run: Run, event: Event) -> bool:
    """Apply an event to a run; return whether the event is about the run alone."""
    match event:
        case ev.RunCreated():
            _create_run(run, event)
        case ev.RunUpdated():
            _update_run(run, event)
        case ev.ParamsLogged():
            run.params.update(event.params)
        case ev.TagsSet():
            set_tags(run.tags, event.tags)
        case ev.TagDeleted():
            delete_tag(run.tags, event.key)
        case ev.MetricsLogged():
            _add_points(run, event)
        case ev.InputsLogged():
            for logged in event.datasets:
                dataset = {
                    key: value
                    for key, value in logged.items()
                    if value not in (None, {}) and key != "source_sha256"  # no column of MLflow
                }
                if dataset not in run.datasets:
                    run.datasets.append(dataset)
            run.input_models += [model for model in event.models if model not in run.input_models]
        case ev.OutputsLogged():
            pairs = [(str(model), int(step or 0)) for model, step in event.models]
            run.output_models += [pair for pair in pairs if pair not in run.output_models]
        case ArtifactsLogged(owner=None):
            _change_files(run.artifacts, event)
        case ev.CallRefused():
            _take_back(run, event)
        case ev.ObjectRead() | ev.SessionEnded():
            pass  # no store of MLflow keeps what a program read, or how its process ended
        case _:
            return False
    return True


def _create_run(run: Run, event: ev.RunCreated) -> None:
    run.created = True
    for name in ("experiment_id", "experiment_name", "user_id", "start_time_ms", "artifact_uri"):
        setattr(run, name, getattr(event, name))
    _require_whole(event.start_time_ms)
    _change(run, "name", event.run_name)
    set_tags(run.tags, event.tags)
    run.store, run.fields = dict(event.store), dict(event.fields)
    # MLflow starts every run as RUNNING, without an update that says so.
    if run.status is None and event.session != STORE_SESSION:
        run.status = "RUNNING"


def _update_run(run: Run, event: ev.RunUpdated) -> None:
    if event.status is not None:
        _change(run, "status", event.status)
        if event.status == "RUNNING":  # the run was resumed
            _change(run, "end_time_ms", None)
    _require_whole(event.end_time_ms)
    if event.end_time_ms is not None:
        _change(run, "end_time_ms", event.end_time_ms)
    # MLflow keeps the name of a run twice.
    if event.run_name is not None:
        _change(run, "name", event.run_name)
        run.tags[RUN_NAME] = event.run_name
    if event.lifecycle is not None:
        _change(run, "lifecycle", event.lifecycle)


def _change(run: Run, field: str, value: str | int | None) -> None:
    """Set a field of a run, which remembers the value that it had."""
    before = getattr(run, field)
    if before not in (None, value):
        run.earlier.setdefault(field, set()).add(before)
    setattr(run, field, value)


def _take_back(run: Run, event: ev.CallRefused) -> None:
    """Remove params and tags that the store has refused."""
    for field, values in (("params", run.params), ("tags", run.tags)):
        for key, value in literals.mapping(event.content.get(field)).items():
            if value is not None and values.get(key) == value:
                del values[key]


def _require_whole(time_ms: object) -> None:
    """Refuse the times of a malformed document: MLflow cannot list a run without one."""
    if time_ms is not None and not isinstance(time_ms, int):
        raise ValueError(f"{time_ms!r} is not a time in ms")


def _add_points(run: Run, event: ev.MetricsLogged) -> None:
    keys = event.keys
    if not keys:
        return
    # Nearly all events of converted stores have one key: extending whole columns is fast.
    if event.models is None and event.datasets is None and list(keys).count(keys[0]) == len(keys):
        points = run.points.setdefault(keys[0], Points())
        for name in ("values", "timestamps_ms", "steps"):
            getattr(points, name).extend(getattr(event, name))
        return
    for i, key in enumerate(keys):
        points = run.points.setdefault(key, Points())
        index = len(points.values)
        points.values.append(event.values[i])
        points.timestamps_ms.append(event.timestamps_ms[i])
        points.steps.append(event.steps[i])
        if event.models is not None and (model := event.models[i]):
            points.models[index] = model
        if event.datasets is not None and (dataset := event.datasets[i]):
            dataset_name, digest = (*dataset, None, None)[:2]
            points.datasets[index] = (dataset_name, digest)


def _change_files(files: dict[str, dict[str, Any]], event: ArtifactsLogged) -> None:
    """Add the files of an event, or delete them; deleting a folder deletes its files."""
    for file in event.files:
        path = str(file.get("path") or "")
        if event.deleted:
            folder = f"{path}/"
            for name in [n for n in files if not path or n == path or n.startswith(folder)]:
                del files[name]
        elif path:
            files[path] = {"size": file.get("size"), "sha256": file.get("sha256")}


# -- logged models -----------------------------------------------------------------------


def _model_of(state: StoreState, model_id: str) -> LoggedModel:
    return state.models.setdefault(model_id, LoggedModel(model_id))


def _on_model(state: StoreState, event: ev.ModelLogged) -> None:
    model = _model_of(state, event.model_id)
    fields = dict(event.fields or {})
    if event.status == "DELETED" or fields.get("lifecycle") == "deleted":
        model.lifecycle = "deleted"
    for field, value in (
        ("name", event.name),
        ("model_type", event.model_type),
        ("status", event.status if event.status != "DELETED" else None),
        ("experiment_id", event.experiment_id),
        ("artifact_location", event.artifact_uri),
        ("creation_time_ms", event.creation_time_ms),
        ("last_updated_ms", literals.number(fields.get("last_updated_timestamp_ms"))),
        ("source_run_id", fields.get("source_run_id") or None),
        ("status_message", fields.get("status_message") or None),
    ):
        if value is not None:
            setattr(model, field, value)
    # Live events of a model are in the document of the run that logged it.
    if model.source_run_id is None and ids.store_of(event.run_id) is None:
        model.source_run_id = event.run_id
    model.params.update(event.params or {})
    set_tags(model.tags, event.tags or {})
    delete_tag(model.tags, event.deleted_tag)
    model.fields.update({key: fields[key] for key in fields.keys() - set(_MODEL_FIELDS)})


def _log_model_metrics(state: StoreState, call: Call) -> None:
    model_id, metrics = required(call.text("model_id")), call.items("metrics")
    _model_of(state, model_id).metrics += [
        {"run_id": call.run_id, **metric} for metric in metrics if isinstance(metric, Mapping)
    ]


# -- calls and files of models and traces ------------------------------------------------

HANDLERS: Mapping[str, Handler] = {
    "log_logged_model_metrics": _log_model_metrics,
    **experiments.HANDLERS,
    **registry.HANDLERS,
    **traces.HANDLERS,
}
"""Handlers of the store methods whose effect can be restored."""


def _on_call(state: StoreState, event: StoreCalled) -> None:
    if handler := HANDLERS.get(event.method):
        with contextlib.suppress(IncompleteCallError, *MALFORMED):
            handler(state, Call(event))
            return
    rows = event.arguments.get("rows")
    if event.method.startswith(_TABLE_ROWS) and isinstance(rows, list):
        table = state.table_rows.setdefault(event.method.removeprefix(_TABLE_ROWS), [])
        table += [dict(row) for row in rows if isinstance(row, Mapping)]
    else:
        state.unhandled_calls.append((event.method, dict(event.arguments)))


def _on_owned_files(state: StoreState, event: ArtifactsLogged) -> None:
    kind, owner = event.owner or ("", "")
    if kind == "model":
        _change_files(_model_of(state, owner).artifacts, event)
    elif kind == "trace":
        _change_files(traces.trace_of(state, owner).artifacts, event)
