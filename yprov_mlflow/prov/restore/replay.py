"""Events become the state that a store has after them: the last writer wins, deletions delete."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from yprov_mlflow.prov.events import (
    STORE_SESSION,
    ArtifactsLogged,
    Event,
    InputsLogged,
    MetricsLogged,
    ModelLogged,
    OutputsLogged,
    ParamsLogged,
    RunCreated,
    RunUpdated,
    StoreCalled,
    TagDeleted,
    TagsSet,
)
from yprov_mlflow.prov.restore import evaluation, experiments, models, registry, traces
from yprov_mlflow.prov.restore.call_record import Call, Handler
from yprov_mlflow.prov.restore.state import Points, Run, StoreState

RUN_NAME = "mlflow.runName"

HANDLERS: Mapping[str, Handler] = {
    **experiments.HANDLERS,
    **models.HANDLERS,
    **registry.HANDLERS,
    **traces.HANDLERS,
    **evaluation.HANDLERS,
}
"""What each call to a store does to its state."""

_RECORD = "record_"


class StateBuilder:
    """Takes documents' events one document after the other; runs come out at once.

    What belongs to no single run is kept until ``finish``, as calls of live capture are told by
    many documents and count in the order of their times.
    """

    def __init__(self) -> None:
        self._others: list[tuple[int, Event]] = []

    def feed(self, events: Iterable[Event]) -> Run | None:
        """Take the events of one document; gives its run, None for that of a store."""
        run: Run | None = None
        for event in events:
            handler = _OF_RUNS.get(type(event))
            if handler is None or (isinstance(event, ArtifactsLogged) and event.owner is not None):
                self._others.append((_time(event), event))
                continue
            if run is None:
                run = Run(event.run_id)
            handler(run, event)
        return run

    def finish(self) -> StoreState:
        """Give all that belongs to no single run."""
        estate = StoreState()
        self._others.sort(key=lambda item: item[0])
        for _, event in self._others:
            if isinstance(event, ModelLogged):
                models.on_model(estate, event)
            elif isinstance(event, ArtifactsLogged):
                _on_owned_files(estate, event)
            elif isinstance(event, StoreCalled):
                _on_call(estate, event)
        self._others.clear()
        return estate


def _time(event: Event) -> int:
    """Sort by time: what a store told is as old as can be."""
    return event.time_ns if isinstance(event, StoreCalled) else 0


def _on_call(estate: StoreState, event: StoreCalled) -> None:
    handler = HANDLERS.get(event.method)
    if handler is not None and handler(estate, Call(event)):
        return
    if event.method.startswith(_RECORD) and isinstance(event.arguments.get("rows"), list):
        rows = [row for row in event.arguments["rows"] if isinstance(row, Mapping)]
        table = estate.rows.setdefault(event.method.removeprefix(_RECORD), [])
        table += [dict(row) for row in rows]
        return
    estate.left.append((event.method, dict(event.arguments)))


def _on_owned_files(estate: StoreState, event: ArtifactsLogged) -> None:
    assert event.owner is not None
    kind, owner = event.owner
    if kind == "model":
        change_files(models.model_of(estate, owner).artifacts, event)
    elif kind == "trace":
        change_files(traces.trace_of(estate, owner).artifacts, event)


# -- runs --------------------------------------------------------------------------------


def _on_created(run: Run, event: RunCreated) -> None:
    run.known = True
    run.experiment_id = event.experiment_id
    run.experiment_name = event.experiment_name
    run.name = event.run_name
    run.user_id = event.user_id
    run.start_time_ms = event.start_time_ms
    run.artifact_uri = event.artifact_uri
    run.tags.update(event.tags)
    run.store = dict(event.store)
    run.fields = dict(event.fields)
    if run.status is None and event.session != STORE_SESSION:
        run.status = "RUNNING"


def _on_updated(run: Run, event: RunUpdated) -> None:
    if event.status is not None:
        run.status = event.status
        if event.status == "RUNNING":
            run.end_time_ms = None
    if event.end_time_ms is not None:
        run.end_time_ms = event.end_time_ms
    if event.run_name is not None:
        run.name = run.tags[RUN_NAME] = event.run_name
    if event.lifecycle is not None:
        run.lifecycle = event.lifecycle


def _on_params(run: Run, event: ParamsLogged) -> None:
    run.params.update(event.params)


def _on_tags(run: Run, event: TagsSet) -> None:
    run.tags.update(event.tags)


def _on_tag_deleted(run: Run, event: TagDeleted) -> None:
    run.tags.pop(event.key, None)


def _on_metrics(run: Run, event: MetricsLogged) -> None:
    keys = event.keys
    if not keys:
        return
    if event.models is None and event.datasets is None and list(keys).count(keys[0]) == len(keys):
        points = run.points.setdefault(keys[0], Points())
        points.values.extend(event.values)
        points.timestamps_ms.extend(event.timestamps_ms)
        points.steps.extend(event.steps)
        return
    for i, key in enumerate(keys):
        points = run.points.setdefault(key, Points())
        at = len(points.values)
        points.values.append(event.values[i])
        points.timestamps_ms.append(event.timestamps_ms[i])
        points.steps.append(event.steps[i])
        model = event.models[i] if event.models is not None else None
        if model:
            points.models[at] = model
        dataset = event.datasets[i] if event.datasets is not None else None
        if dataset:
            name, digest = (*dataset, None, None)[:2]
            points.datasets[at] = (name, digest)


def _on_inputs(run: Run, event: InputsLogged) -> None:
    for given in event.datasets:
        dataset = {key: value for key, value in given.items() if value not in (None, {})}
        if dataset not in run.datasets:
            run.datasets.append(dataset)
    run.models_in += [model for model in event.models if model not in run.models_in]


def _on_outputs(run: Run, event: OutputsLogged) -> None:
    pairs = [(str(model), int(step or 0)) for model, step in event.models]
    run.models_out += [pair for pair in pairs if pair not in run.models_out]


def _on_files(run: Run, event: ArtifactsLogged) -> None:
    change_files(run.artifacts, event)


def change_files(known: dict[str, dict[str, Any]], event: ArtifactsLogged) -> None:
    """Write files, or remove them; a folder's removal is that of all in it."""
    for file in event.files:
        path = str(file.get("path") or "")
        if event.deleted:
            gone = [one for one in known if not path or one == path or one.startswith(f"{path}/")]
            for one in gone:
                del known[one]
        elif path:
            known[path] = {"size": file.get("size"), "sha256": file.get("sha256")}


_OF_RUNS: Mapping[type[Event], Callable[[Run, Any], None]] = {
    RunCreated: _on_created,
    RunUpdated: _on_updated,
    ParamsLogged: _on_params,
    TagsSet: _on_tags,
    TagDeleted: _on_tag_deleted,
    MetricsLogged: _on_metrics,
    InputsLogged: _on_inputs,
    OutputsLogged: _on_outputs,
    ArtifactsLogged: _on_files,
}
