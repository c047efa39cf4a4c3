"""Compare a run with the one of the target: all of it, before anything is written."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

from mlflow.utils import validation

from yprov_mlflow.prov.events import LARGEST_FLOAT
from yprov_mlflow.prov.redaction import WITHHELD
from yprov_mlflow.prov.restore.client.client_session import ClientSession
from yprov_mlflow.prov.restore.restore_report import RESTORED_FROM
from yprov_mlflow.prov.state import Points, Run, was

RESTORING = "yprov.restoring"
"""Tag of an incomplete run: the next restoration completes it after an interruption."""

_OWN_TAGS = frozenset({RESTORED_FROM, RESTORING})
_PARENT = "mlflow.parentRunId"

Point = tuple[str, int, int]


class ConflictError(Exception):
    """The run of the target is not an earlier state of the one in the journals."""


@dataclasses.dataclass
class Missing:
    """What to write into a run: new and changed values, and the keys of tags to delete."""

    params: dict[str, str] = dataclasses.field(default_factory=dict)
    tags: dict[str, str] = dataclasses.field(default_factory=dict)
    deleted_tags: list[str] = dataclasses.field(default_factory=list)
    points: dict[str, Points] = dataclasses.field(default_factory=dict)
    datasets: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    status: bool = False

    def __bool__(self) -> bool:
        return any(vars(self).values())


def missing(session: ClientSession, run: Run, existing: Any) -> Missing:
    """Return what the run of the target lacks.

    Args:
        session: The client of the target.
        run: The run.
        existing: The run of the target, as MLflow's entity.

    Raises:
        ConflictError: The run of the target has something that this one never had.
    """
    data, info = existing.data, existing.info
    is_complete = run.created and run.whole
    result = Missing()
    for key, value in run.params.items():
        stored = data.params.get(key)
        if stored is None:
            result.params[key] = value
        elif not _is_stored(value, stored, validation.MAX_PARAM_VAL_LENGTH):
            raise ConflictError(f"the param {key!r}")
    if is_complete and (foreign := sorted(data.params.keys() - run.params.keys())):
        raise ConflictError(f"the param {foreign[0]!r}, which the journals lack")
    _compare_tags(run, data.tags, result)
    result.points = dict(_missing_points(session, run, existing))
    stored_data = {
        (item.dataset.name, item.dataset.digest)
        for item in getattr(existing.inputs, "dataset_inputs", None) or ()
    }
    result.datasets = [
        dataset
        for dataset in run.datasets
        if (dataset.get("name"), dataset.get("digest")) not in stored_data
    ]
    if run.status is not None and (info.status, info.end_time) != (run.status, run.end_time_ms):
        earlier = {"RUNNING", "SCHEDULED", run.status, *run.earlier.get("status", ())}
        is_earlier = info.end_time in (None, run.end_time_ms, *run.earlier.get("end_time_ms", ()))
        if run.created and not (info.status in earlier and is_earlier):
            raise ConflictError(f"the status {info.status}")
        result.status = True
    return result


def _compare_tags(run: Run, stored: Mapping[str, str], result: Missing) -> None:
    for key, value in run.tags.items():
        old = stored.get(key)
        if key == _PARENT:  # its id in the target is set after all runs
            continue
        if old is None or was(run.tags, key, old):
            result.tags[key] = value
        elif not _is_stored(value, old, validation.MAX_TAG_VAL_LENGTH):
            raise ConflictError(f"the tag {key!r}")
    result.deleted_tags = [
        key
        for key, old in stored.items()
        if key not in run.tags and key not in _OWN_TAGS and was(run.tags, key, old)
    ]


def _is_stored(value: str, stored: str, limit: int) -> bool:
    """Return whether the target has a value, cut to its limit, or one that journals withhold."""
    return stored == value or stored == value[:limit] or WITHHELD in value


def _missing_points(
    session: ClientSession, run: Run, existing: Any
) -> Iterator[tuple[str, Points]]:
    is_complete = run.created and run.whole
    stored_keys = existing.data.metrics.keys()
    if is_complete and (foreign := sorted(stored_keys - run.points.keys())):
        raise ConflictError(f"the metric {foreign[0]!r}, which the journals lack")
    for key, points in run.points.items():
        stored: set[Point] = set()
        if key in stored_keys:
            history = session.client.get_metric_history(existing.info.run_id, key)
            stored = {_point(p.value, p.timestamp, p.step) for p in history}
        rows = list(zip(points.values, points.timestamps_ms, points.steps, strict=True))
        numbers = [index for index, row in enumerate(rows) if _point(*row) not in stored]
        if is_complete and (foreign := sorted(stored - {_point(*row) for row in rows})):
            raise ConflictError(f"{len(foreign)} points of the metric {key!r}")
        if numbers:
            yield key, _selected(points, numbers)


def _selected(points: Points, numbers: list[int]) -> Points:
    result = Points()
    for position, index in enumerate(numbers):
        result.values.append(points.values[index])
        result.timestamps_ms.append(points.timestamps_ms[index])
        result.steps.append(points.steps[index])
        if index in points.models:
            result.models[position] = points.models[index]
    return result


def _point(value: float, timestamp_ms: int, step: int) -> Point:
    """Return a point so that it equals itself in every kind of store."""
    # MLflow's databases have the largest number for infinity, and SQLite lacks negative zero.
    if math.isinf(value):
        value = math.copysign(LARGEST_FLOAT, value)
    return repr(float(value) + 0.0), int(timestamp_ms), int(step)
