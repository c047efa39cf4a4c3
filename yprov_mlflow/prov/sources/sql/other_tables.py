"""Tables that have no event of their own: calls that would have made their rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from yprov_mlflow.prov.events import Event, Json
from yprov_mlflow.prov.sources.source import Problem
from yprov_mlflow.prov.sources.sql.context import Reading
from yprov_mlflow.prov.sources.sql.event_factory import (
    MOST_ROWS,
    WITHHELD,
    as_number,
    plain,
    texts,
    without_secrets,
)
from yprov_mlflow.prov.sources.sql.query_reader import Record, Unreadable
from yprov_mlflow.prov.sources.sql.schema import KEYS

NOT_CONTENT = frozenset(
    "alembic_version alembic_version_auth job_locks scheduler_leases trace_metrics span_metrics"
    " sql_trace_metric_daily_rollups sql_span_cost_daily_rollups sql_assessment_daily_rollups"
    " sql_trace_rollup_rebuild_queue".split()
)
"""Tables that MLflow keeps for itself: its schema's revision, locks, sums of what spans say."""

KNOWN = frozenset(
    "entity_associations jobs secrets endpoints endpoint_bindings endpoint_model_mappings"
    " endpoint_tags model_definitions budget_policies guardrails guardrail_configs issues"
    " label_schemas review_queues review_queue_items review_queue_label_schemas"
    " review_queue_users online_scoring_configs workspaces mcp_servers mcp_server_tags"
    " mcp_server_versions mcp_server_version_tags mcp_server_aliases mcp_access_endpoints".split()
)
"""Tables of MLflow 3 of which rows are recorded as they are."""

_LINKS = frozenset({("trace", "run"), ("trace", "prompt_version")})
"""Associations that are told with runs and traces."""
_OF_DATASETS = ("evaluation_dataset", "experiment")

_FIRST_WORKSPACE = dict.fromkeys(
    ("default_artifact_root", "trace_archival_location", "trace_archival_retention")
)
_FIRST_WORKSPACE |= {"name": "default", "description": "Default workspace for legacy resources"}
"""The row that MLflow makes itself."""

_WRAPPED = "mlflow_wrapped"
"""What MLflow puts outputs of a dataset's record into."""

_OWNERS = {
    "experiment_id": ("experiments", "experiment_id"),
    "run_uuid": ("runs", "run_uuid"),
    "input_uuid": ("inputs", "input_uuid"),
    "model_id": ("logged_models", "model_id"),
    "name": ("registered_models", "name"),
    "request_id": ("trace_info", "request_id"),
    "trace_id": ("trace_info", "request_id"),
    "dataset_id": ("evaluation_datasets", "dataset_id"),
    "scorer_id": ("scorers", "scorer_id"),
    "webhook_id": ("webhooks", "webhook_id"),
}
"""Where the row is that a key names, and by which column."""

_PLAIN = {
    "params": "key value run_uuid",
    "tags": "key value run_uuid",
    "metrics": "key value timestamp step is_nan run_uuid",
    "latest_metrics": "key value timestamp step is_nan run_uuid",
    "experiment_tags": "key value experiment_id",
    "inputs": "input_uuid source_type source_id destination_type destination_id step",
    "input_tags": "input_uuid name value",
    "datasets": "dataset_uuid experiment_id name digest dataset_source_type dataset_source"
    " dataset_schema dataset_profile",
    "registered_model_tags": "workspace name key value",
    "registered_model_aliases": "workspace name alias version",
    "model_version_tags": "workspace name version key value",
    "logged_model_params": "model_id experiment_id param_key param_value",
    "logged_model_tags": "model_id experiment_id tag_key tag_value",
    "logged_model_metrics": "model_id metric_name metric_timestamp_ms metric_step metric_value"
    " experiment_id run_id dataset_uuid dataset_name dataset_digest",
    "trace_tags": "request_id key value",
    "trace_request_metadata": "request_id key value",
}
"""Columns of tables whose rows have no room for others."""


def evaluation_datasets(reading: Reading) -> Iterator[Event]:
    """Give evaluation data sets with their tags, experiments and records."""
    reader = reading.reader
    for found in sorted(reader.records("evaluation_datasets"), key=lambda r: str(r["dataset_id"])):
        dataset_id = str(found["dataset_id"])
        named = {"dataset_id": dataset_id}
        where = {
            "source_type": "evaluation_dataset",
            "source_id": dataset_id,
            "destination_type": "experiment",
        }
        linked = reader.rows("entity_associations", ("destination_id",), where)
        arguments = {
            **_row(reading, "evaluation_datasets", found),
            "tags": texts(reader.pairs("evaluation_dataset_tags", named)),
            "experiment_ids": sorted(str(experiment) for (experiment,) in linked),
        }
        yield reading.entries.call("create_dataset", {"dataset": dataset_id}, arguments)
        records = list(reader.records("evaluation_dataset_records", named))
        records.sort(
            key=lambda r: (as_number(r.get("created_time")), str(r.get("dataset_record_id")))
        )
        rows = [_told(_row(reading, "evaluation_dataset_records", one)) for one in records]
        for start in range(0, len(rows), MOST_ROWS):
            arguments = {**named, "records": rows[start : start + MOST_ROWS]}
            subjects = {"dataset": dataset_id}
            yield reading.entries.call("upsert_dataset_records", subjects, arguments)


def _told(row: dict[str, Json]) -> dict[str, Json]:
    """Give a record as MLflow's API does; the hash of its inputs follows from them."""
    row.pop("input_hash", None)
    outputs = row.get("outputs")
    if isinstance(outputs, dict) and set(outputs) == {_WRAPPED}:
        row["outputs"] = outputs[_WRAPPED]
    return row


def scorers(reading: Reading) -> Iterator[Event]:
    """Give each version of each scorer."""
    reader = reading.reader
    names = ("experiment_id", "scorer_name", "scorer_id")
    for experiment, name, scorer_id in sorted(reader.rows("scorers", names), key=str):
        versions = list(reader.records("scorer_versions", {"scorer_id": scorer_id}))
        for found in sorted(versions, key=lambda one: as_number(one.get("scorer_version"))):
            row = _row(reading, "scorer_versions", found)
            arguments = {"experiment_id": str(experiment), "name": str(name), **row}
            subjects = {"experiment": experiment, "name": name}
            yield reading.entries.call("register_scorer", subjects, arguments)


def webhooks(reading: Reading) -> Iterator[Event]:
    """Give webhooks by name and what they wait for; secrets and addresses stay where they are."""
    reader = reading.reader
    for found in sorted(reader.records("webhooks"), key=lambda one: str(one["webhook_id"])):
        where = {"webhook_id": found["webhook_id"]}
        waits = reader.rows("webhook_events", ("entity", "action"), where)
        # An address may have a token in its path.
        arguments = {**_row(reading, "webhooks", found), "url": WITHHELD}
        arguments["events"] = sorted(f"{entity}.{action}" for entity, action in waits)
        subjects = {"webhook": found["webhook_id"]}
        yield reading.entries.call("create_webhook", subjects, arguments)


def recorded(reading: Reading) -> Iterator[Event]:
    """Give the rows of all other tables, as they are, and tell what no event has room for."""
    schema = reading.reader.schema
    for table in sorted(set(schema.tables) - KEYS.keys() - NOT_CONTENT):
        place = f"table {table}"
        if table not in KNOWN:
            reason = "is none of MLflow's that this version knows; its rows are kept as they are"
            reading.report(Problem(place, reason, ""))
        yield from reading.saved(place, "rows from there on", _rows(reading, table))
    for table, columns in _PLAIN.items():
        if table in schema.tables:
            new = {column.name for column in schema.tables[table].c} - set(columns.split())
            if new:
                reason = f"has columns that this version does not know: {', '.join(sorted(new))}"
                reading.report(Problem(f"table {table}", reason, "what is in these columns"))


def ownerless(reading: Reading) -> Iterator[Event]:
    """Tell of rows whose owner is gone, as after a deletion by hand; there is no event of them.

    Only SQLite has such: servers do not let them stay.
    """
    schema = reading.reader.schema
    for table, key in KEYS.items() if reading.reader.dialect == "sqlite" else ():
        owner, column = _OWNERS.get(key, (table, key))
        if table in (owner, "latest_metrics") or not (schema.has(table) and schema.has(owner)):
            continue
        try:
            count = _count_ownerless(reading, table, key, schema.tables[owner].c[column])
        except Unreadable:
            continue  # whoever reads the table itself tells of it
        if count:
            reason = f"has rows of what is not in the table {owner}: {count}"
            reading.report(Problem(f"table {table}", reason, "these rows"))
    return iter(())


def _count_ownerless(reading: Reading, table: str, key: str, owner: Any) -> int:
    import sqlalchemy

    rows = reading.reader.schema.tables[table]
    owned = sqlalchemy.select(owner).where(owner == rows.c[key]).correlate(rows).exists()
    statement = sqlalchemy.select(sqlalchemy.func.count()).select_from(rows).where(~owned)
    chunks = reading.reader.chunks(statement, streamed=False)
    return sum(int(count) for chunk in chunks for (count,) in chunk)


def _rows(reading: Reading, table: str) -> Iterator[Event]:
    waiting: list[dict[str, Json]] = []
    for found in reading.reader.records(table):
        if (table == "entity_associations" and _is_told(found)) or found == _FIRST_WORKSPACE:
            continue
        waiting.append(_row(reading, table, found))
        if len(waiting) == MOST_ROWS:
            yield _record(reading, table, waiting)
            waiting = []
    if waiting:
        yield _record(reading, table, waiting)


def _is_told(found: Record) -> bool:
    kinds = (found.get("source_type"), found.get("destination_type"))
    return kinds in _LINKS or kinds == _OF_DATASETS


def _record(reading: Reading, table: str, rows: Sequence[dict[str, Json]]) -> Event:
    ordered = sorted(rows, key=lambda row: json.dumps(row, sort_keys=True, default=str))
    return reading.entries.call(f"record_{table}", {"table": table}, {"rows": ordered})


def _row(reading: Reading, table: str, found: Record) -> dict[str, Json]:
    """Give a row as JSON, without what is empty and without secrets."""
    json_columns = reading.reader.schema.json[table]
    row = {}
    for name, value in without_secrets(found).items():
        item = _parsed(value) if name in json_columns else plain(value)
        if item is not None and not (name == "workspace" and item == "default"):
            row[name] = item
    return row


def _parsed(value: Any) -> Json:
    try:
        return json.loads(value) if isinstance(value, str) else plain(value)
    except (ValueError, RecursionError):
        return value
