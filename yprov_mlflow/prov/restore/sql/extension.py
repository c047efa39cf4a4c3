"""Which rows of a record in the target may change: those that hold an earlier state of it.

A synchronization brings a record up to date that an earlier one wrote, or that a client logged
itself. It must not touch what others wrote under the same id. So a row may change if its values are
missing, or were those of the record before, or belong to a column that moves on (such as a
status) in a record that nothing has updated since.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from yprov_mlflow.prov.events import LARGEST_FLOAT
from yprov_mlflow.prov.redaction import WITHHELD
from yprov_mlflow.prov.restore.artifact_files import TRACE_LOCATION
from yprov_mlflow.prov.restore.traces import SPANS_LOCATION

Row = dict[str, Any]
Earlier = Mapping[str, Callable[[Row, frozenset[str]], bool]]

ADDITIVE = "metrics"
"""Table of which each row is whole in its primary key: rows are only added."""

# Columns that the target chooses, or that journals do not have.
_OF_TARGET: Mapping[str, frozenset[str]] = {
    "runs": frozenset(
        {"artifact_uri", "source_type", "source_name", "entry_point_name", "source_version"}
        | {"deleted_time"}
    ),
    "logged_models": frozenset({"artifact_location", "creation_timestamp_ms"}),
    "registered_models": frozenset({"creation_time"}),
    "model_versions": frozenset({"creation_time", "storage_location"}),
    "inputs": frozenset({"input_uuid"}),
    "evaluation_datasets": frozenset({"digest", "schema", "profile", "created_time"}),
    "evaluation_dataset_records": frozenset({"dataset_record_id", "created_time"}),
    "entity_associations": frozenset({"association_id", "created_time"}),
}

NATURAL_KEYS: Mapping[str, tuple[str, ...]] = {
    "evaluation_dataset_records": ("dataset_id", "input_hash")
}
"""Columns that identify a row of tables whose primary key the target draws at random."""

_LOCATION_TAGS = frozenset({TRACE_LOCATION, SPANS_LOCATION})
_DURATION = "execution_time_ms"
_TIMES = (
    "last_updated_timestamp_ms",
    "last_updated_time",
    "last_updated_timestamp",
    "last_update_time",
)
# Columns that move on while a record lives.
_MOVING: Mapping[str, frozenset[str]] = {
    "logged_models": frozenset({"status", "status_message", "lifecycle_stage"}),
    "registered_models": frozenset({"description"}),
    "model_versions": frozenset({"description", "current_stage", "status", "status_message"}),
    "trace_info": frozenset(
        {"status", "execution_time_ms", "request_preview", "response_preview"}
        | {"client_request_id", "trace_name"}
    ),
    "trace_request_metadata": frozenset({"value"}),
    "spans": frozenset(
        {"name", "type", "status", "end_time_unix_nano", "content", "parent_span_id"}
        | {"input_cost", "output_cost", "total_cost", "model_name", "model_provider"}
    ),
    "assessments": frozenset(
        {"name", "value", "error", "rationale", "valid", "assessment_metadata"}
        | {"aggregate_value", "is_numeric_value"}
    ),
    "evaluation_datasets": frozenset({"last_updated_by"}),
    "evaluation_dataset_records": frozenset({"outputs", "expectations", "tags"}),
}
_POINT = ("step", "timestamp", "value")


class ConflictError(Exception):
    """The target has a record of the same id that is not an earlier state of this one."""


def comparable(value: Any) -> Any:
    """Return a value that compares equal to the database's: some store booleans as numbers."""
    if isinstance(value, bool):
        return int(value)
    # MLflow's own stores write the largest number for infinity.
    if isinstance(value, float) and math.isinf(value):
        return math.copysign(LARGEST_FLOAT, value)
    if isinstance(value, list | dict):
        return repr(value)
    return value


def changes(table: str, old: Row, new: Row, earlier: Earlier) -> Row:
    """Return the columns of a row to update, with their values; empty if it stays as it is.

    Args:
        table: The table.
        old: The row of the target.
        new: The row of the record.
        earlier: See ``Record``.

    Raises:
        ConflictError: The row of the target does not hold an earlier state.
    """
    if table == "trace_tags" and old["key"] in _LOCATION_TAGS:
        return {}
    if table == "latest_metrics":  # follows from the points
        is_later = [new[name] for name in _POINT] > [old[name] for name in _POINT]
        return new if is_later else {}
    differing = {
        column: value
        for column, value in new.items()
        if comparable(old[column]) != comparable(value)
        and column not in _OF_TARGET.get(table, ())
        # The target may have the value that journals withhold.
        and not (isinstance(value, str) and WITHHELD in value and old[column] is not None)
    }
    if old.get("status") == new.get("status") and old.get(_DURATION) is not None:
        differing.pop(_DURATION, None)  # stores compute it from the spans
    names = frozenset(differing) - frozenset(_TIMES)
    if not names:  # the store and the journal may have taken the time at different moments
        return {}
    if all(old[name] is None for name in names):
        return differing
    was_so = earlier.get(table)
    if was_so is not None and was_so(old, names):
        return differing
    if names <= _MOVING.get(table, frozenset()) and not _is_newer(old, new):
        return differing
    raise ConflictError(f"{table}: {', '.join(sorted(names))} of {_name(old)!r}")


def is_outdated(table: str, old: Row, earlier: Earlier) -> bool:
    """Return whether a row that the record lacks was its own before; others added it otherwise."""
    was_so = earlier.get(table)
    return was_so is not None and table != "runs" and was_so(old, frozenset())


def later_times(old: Row, new: Row) -> Row:
    """Return the times of the last update that are later than in the target."""
    return {
        name: new[name]
        for name in _TIMES
        if new.get(name) is not None and new[name] > (old.get(name) or 0)
    }


def _is_newer(old: Row, new: Row) -> bool:
    times = [(old.get(name), new.get(name)) for name in _TIMES if name in new]
    return any(before is not None and now is not None and before > now for before, now in times)


def _name(row: Row) -> object:
    names = ("key", "param_key", "tag_key", "alias", "version", "name", "run_uuid", "span_id")
    return next((row[name] for name in names if row.get(name) is not None), "")
