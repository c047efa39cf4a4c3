"""Record objects that a call removes without naming them: the store is asked before and after.

MLflow does not say which traces it deletes by age, nor which runs it deletes or restores with
their experiment. It removed the objects that were there before and are gone afterwards.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

from mlflow.entities import ViewType

from yprov_mlflow.prov import events
from yprov_mlflow.prov.capture import mlflow_private, registry_state
from yprov_mlflow.prov.capture.mlflow_private import HARD_DELETES
from yprov_mlflow.prov.capture.session import BoundedDict, CaptureSession
from yprov_mlflow.prov.events import Json

_ON_EXPERIMENTS = frozenset({"delete_experiment", "restore_experiment"})
METHODS = (
    _ON_EXPERIMENTS
    | {"delete_traces", "delete_logged_model", HARD_DELETES["model"]}
    | registry_state.METHODS
)
"""Methods before which the store is asked."""

_MAX_OBJECTS = BoundedDict.max_size
_PAGE = 500


@dataclasses.dataclass(frozen=True)
class Before:
    """The state of the store before a call that changes objects without naming them.

    Attributes:
        traces: Ids of the traces that the call may delete by their age.
        stages: The lifecycle stages of an experiment's runs, by their ids.
        state: The state of a registered model or an experiment.
    """

    traces: list[str] | None = None
    stages: Mapping[str, str] | None = None
    state: Mapping[str, Json] | None = None


def before(
    name: str,
    capture: CaptureSession,
    store: Any,
    method: Callable[..., Any],
    /,
    *args: Any,
    **kwargs: Any,
) -> Before | None:
    """Remember the owners of objects that a call removes, and return what it may change."""
    with contextlib.suppress(TypeError):  # MLflow raises it for wrong arguments
        arguments = inspect.signature(method).bind(store, *args, **kwargs).arguments
        if name in _ON_EXPERIMENTS:
            return Before(stages=_stages(capture, store, str(arguments["experiment_id"])))
        if name in registry_state.METHODS:
            return Before(state=registry_state.state_before(name, capture, store, arguments))
        if model_id := arguments.get("model_id"):
            capture.run_of_model(model_id, store)
        if name == "delete_traces" and not arguments.get("trace_ids"):
            traces = _traces_by_age(capture, store, arguments)
            capture.remember_traces(traces, store)
            return Before(traces=traces)
        capture.remember_traces(map(str, arguments.get("trace_ids") or ()), store)
    return None


def deleted_traces(capture: CaptureSession, store: Any, traces: list[str]) -> list[str]:
    """Return those traces that the store no longer has."""
    there: set[str | None] = set()
    with capture.uncaptured():
        for start in range(0, len(traces), _PAGE):
            part = traces[start : start + _PAGE]
            infos = mlflow_private.trace_infos(store, part, capture.ask)
            there.update(map(mlflow_private.trace_of, infos))
    return [trace for trace in traces if trace not in there]


def record_stages(
    capture: CaptureSession, store: Any, experiment_id: str, stages: Mapping[str, str]
) -> None:
    """Record the runs that were deleted or restored with their experiment.

    Runs without a journal here have their document from another machine.
    """
    for run_id, stage in _stages(capture, store, experiment_id).items():
        folder = capture.recorder.journals(run_id, store)
        if stage != stages.get(run_id, stage) and folder.path.is_dir():
            fields = (None, None, None, stage)
            capture.recorder.record(run_id, events.RunUpdated, *fields, store=store)


def _stages(capture: CaptureSession, store: Any, experiment_id: str) -> dict[str, str]:
    """Return the lifecycle stages of an experiment's runs."""
    options = {"filter_string": "", "run_view_type": ViewType.ALL, "max_results": _PAGE}
    with capture.uncaptured():
        runs = mlflow_private.pages(store.search_runs, experiment_ids=[experiment_id], **options)
        return {run.info.run_id: run.info.lifecycle_stage for run in _limited(capture, runs)}


def _traces_by_age(capture: CaptureSession, store: Any, arguments: Mapping[str, Any]) -> list[str]:
    """Return the traces that a call with these arguments deletes, oldest first."""
    options = {
        "experiment_ids": [str(arguments["experiment_id"])],
        "filter_string": f"timestamp_ms <= {arguments['max_timestamp_millis']}",
        "order_by": ["timestamp_ms ASC"],
        "max_results": _PAGE,
    }
    with capture.uncaptured():
        infos = mlflow_private.pages(store.search_traces, **options)
        most = arguments.get("max_traces")
        traces = [mlflow_private.trace_of(info) for info in islice(_limited(capture, infos), most)]
    return [trace for trace in traces if trace is not None]


def _limited(capture: CaptureSession, objects: Iterator[Any]) -> Iterator[Any]:
    """Yield at most as many objects as this process remembers the owners of."""
    yield from islice(objects, _MAX_OBJECTS)
    if next(objects, None) is not None:
        capture.recorder.complain(
            f"A call deletes or restores more than {_MAX_OBJECTS} runs or traces at once. The "
            "documents of the others do not say so; those of a conversion do."
        )
