"""Tables without events of their own, as the calls that would have created their rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import sqlalchemy

from yprov_mlflow.prov.events import Event, Json
from yprov_mlflow.prov.redaction import WITHHELD
from yprov_mlflow.prov.sources.source import Problem
from yprov_mlflow.prov.sources.sql.query_reader import KEYS, OWNERS, Record, Unreadable
from yprov_mlflow.prov.sources.sql.reading import Reading, json_value, number_key
from yprov_mlflow.prov.sources.state_events import MOST_ROWS, batches
from yprov_mlflow.prov.state import EvaluationDataset

# Tables that MLflow keeps for itself: schema revision, locks, sums of what spans say.
_INTERNAL = frozenset(
    "alembic_version alembic_version_auth job_locks scheduler_leases trace_metrics span_metrics"
    " sql_trace_metric_daily_rollups sql_span_cost_daily_rollups sql_assessment_daily_rollups"
    " sql_trace_rollup_rebuild_queue".split()
)
# Tables of MLflow 3 whose rows are recorded as they are.
_RECORDED = frozenset(
    "entity_associations jobs secrets endpoints endpoint_bindings endpoint_model_mappings"
    " endpoint_tags model_definitions budget_policies guardrails guardrail_configs issues"
    " label_schemas review_queues review_queue_items review_queue_label_schemas"
    " review_queue_users online_scoring_configs workspaces mcp_servers mcp_server_tags"
    " mcp_server_versions mcp_server_version_tags mcp_server_aliases mcp_access_endpoints".split()
)
# Associations that are part of the events of runs, traces and evaluation datasets.
_LINKS = frozenset(
    {("trace", "run"), ("trace", "prompt_version"), ("evaluation_dataset", "experiment")}
)
# The row of the table workspaces that MLflow creates itself.
_DEFAULT_WORKSPACE = {
    "name": "default",
    "description": "Default workspace for legacy resources",
    "default_artifact_root": None,
    "trace_archival_location": None,
    "trace_archival_retention": None,
}
# MLflow stores outputs of a dataset's record that are not an object under this key.
_WRAPPED = "mlflow_wrapped"

_EXPERIMENT = "experiment_id"
# Tables whose rows repeat the experiment of their owner: their key, and its table and column.
# MLflow 3.1 wrote 0 for the metrics of logged models.
_OWNERS_WITH_EXPERIMENT = {
    "logged_model_params": ("model_id", "logged_models", "model_id"),
    "logged_model_tags": ("model_id", "logged_models", "model_id"),
    "logged_model_metrics": ("run_id", "runs", "run_uuid"),
    "spans": ("trace_id", "trace_info", "request_id"),
    "assessments": ("trace_id", "trace_info", "request_id"),
}

# Known columns of the tables whose events cannot hold others.
_COLUMNS = {
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


def evaluation_datasets(reading: Reading) -> Iterator[Event]:
    """Yield evaluation datasets with their tags, experiments and records."""
    reader = reading.reader
    for row in sorted(reader.records("evaluation_datasets"), key=lambda r: str(r["dataset_id"])):
        dataset_id = str(row["dataset_id"])
        key = {"dataset_id": dataset_id}
        dataset = EvaluationDataset(
            dataset_id,
            _json_row(reading, "evaluation_datasets", row),
            reader.pairs("evaluation_dataset_tags", key),
            reading.associated("evaluation_dataset", dataset_id, "experiment"),
        )
        yield reading.events.evaluation_dataset(dataset)
        records = sorted(
            reader.records("evaluation_dataset_records", key),
            key=lambda r: (number_key(r.get("created_time")), str(r.get("dataset_record_id"))),
        )
        for number, record in enumerate(records):
            record_id = str(record.get("dataset_record_id") or number)
            dataset.records[record_id] = _dataset_record(reading, record)
        yield from reading.events.dataset_records(dataset)


def _dataset_record(reading: Reading, record: Record) -> dict[str, Json]:
    """Return a record as MLflow's API does, without the hash, which follows from the inputs."""
    row = _json_row(reading, "evaluation_dataset_records", record)
    row.pop("input_hash", None)
    outputs = row.get("outputs")
    if isinstance(outputs, dict) and set(outputs) == {_WRAPPED}:
        row["outputs"] = outputs[_WRAPPED]
    return row


def scorers(reading: Reading) -> Iterator[Event]:
    """Yield each version of each scorer."""
    reader = reading.reader
    columns = ("experiment_id", "scorer_name", "scorer_id")
    for experiment, name, scorer_id in sorted(reader.rows("scorers", columns), key=str):
        versions = reader.records("scorer_versions", {"scorer_id": scorer_id})
        for version in sorted(versions, key=lambda r: number_key(r.get("scorer_version"))):
            row = _json_row(reading, "scorer_versions", version)
            key = {"experiment_id": str(experiment), "name": str(name)}
            yield reading.events.scorer({**key, **row})


def webhooks(reading: Reading) -> Iterator[Event]:
    """Yield webhooks by id, with the events that trigger them, without secrets and URLs."""
    reader = reading.reader
    for webhook in sorted(reader.records("webhooks"), key=lambda r: str(r["webhook_id"])):
        where = {"webhook_id": webhook["webhook_id"]}
        triggers = reader.rows("webhook_events", ("entity", "action"), where)
        arguments = {
            **_json_row(reading, "webhooks", webhook),
            "url": WITHHELD,  # its path may contain a token
            "events": sorted(f"{entity}.{action}" for entity, action in triggers),
        }
        subjects = {"webhook": webhook["webhook_id"]}
        yield reading.events.call("create_webhook", subjects, arguments)


def recorded(reading: Reading) -> Iterator[Event]:
    """Yield the rows of all other tables; report tables and columns that are not known."""
    schema = reading.reader.schema
    for table in sorted(set(schema.tables) - KEYS.keys() - _INTERNAL):
        where = f"table {table}"
        if table not in _RECORDED:
            reason = "is not a table that this version knows; its rows are kept as they are"
            reading.report(Problem(where, reason, ""))
        yield from reading.guard(where, "rows from there on", _table_rows(reading, table))
    for table, names in _COLUMNS.items():
        existing = schema.tables[table].c.keys() if table in schema.tables else ()
        if new := set(existing) - set(names.split()):
            reason = f"has columns that this version does not know: {', '.join(sorted(new))}"
            reading.report(Problem(f"table {table}", reason, "the content of these columns"))


def report_missing(reading: Reading) -> Iterator[Event]:
    """Report tables that MLflow had from its first database on, and that are missing here."""
    for table in ("metrics", "params", "tags"):
        if not reading.reader.schema.has(table):
            reason = "is missing, although every version of MLflow creates it"
            reading.report(Problem(f"table {table}", reason, f"all {table} of runs"))
    return iter(())


def report_other_experiments(reading: Reading) -> Iterator[Event]:
    """Report rows that name another experiment than their model, run or trace, which counts."""
    schema = reading.reader.schema
    for table, (key, owner, column) in _OWNERS_WITH_EXPERIMENT.items():
        if not (schema.has(table, key, _EXPERIMENT) and schema.has(owner, column, _EXPERIMENT)):
            continue
        rows, owners = schema.tables[table], schema.tables[owner]
        statement = (
            sqlalchemy.select(sqlalchemy.func.count())
            .select_from(rows.join(owners, owners.c[column] == rows.c[key]))
            .where(owners.c.experiment_id != rows.c.experiment_id)
        )
        with suppress(Unreadable):  # the reader of the table itself reports this
            [(count,)] = reading.reader.select(statement, streamed=False)
            if count:
                reason = (
                    f"has rows with another experiment_id than in {owner}, which counts: {count}"
                )
                reading.report(Problem(f"table {table}", reason, ""))
    return iter(())


def report_orphans(reading: Reading) -> Iterator[Event]:
    """Report rows whose owner was deleted by hand; they are not part of any event.

    Only SQLite has such rows: its foreign keys are not enforced by default.
    """
    schema = reading.reader.schema
    for table, key in KEYS.items() if reading.reader.dialect == "sqlite" else ():
        owner, column = OWNERS[key], key
        if key == "trace_id":
            owner, column = "trace_info", "request_id"
        if table in (owner, "latest_metrics") or not (schema.has(table) and schema.has(owner)):
            continue
        try:
            count = _count_orphans(reading, table, key, schema.tables[owner].c[column])
        except Unreadable:
            continue  # the reader of the table itself reports this
        if count:
            reason = f"has rows whose owner is not in the table {owner}: {count}"
            reading.report(Problem(f"table {table}", reason, "these rows"))
    return iter(())


def _count_orphans(reading: Reading, table: str, key: str, owner: Any) -> int:
    rows = reading.reader.schema.tables[table]
    owned = sqlalchemy.select(owner).where(owner == rows.c[key]).correlate(rows).exists()
    statement = sqlalchemy.select(sqlalchemy.func.count()).select_from(rows).where(~owned)
    return sum(int(count) for (count,) in reading.reader.select(statement, streamed=False))


def _table_rows(reading: Reading, table: str) -> Iterator[Event]:
    rows = (
        _json_row(reading, table, record)
        for record in reading.reader.records(table)
        if record != _DEFAULT_WORKSPACE
        and (
            table != "entity_associations"
            or (record.get("source_type"), record.get("destination_type")) not in _LINKS
        )
    )
    for batch in batches(rows, MOST_ROWS):
        batch.sort(key=lambda row: json.dumps(row, sort_keys=True, default=str))
        yield reading.events.table_rows(table, batch)


def _json_row(reading: Reading, table: str, record: Record) -> dict[str, Json]:
    """Return a row as JSON, without NULLs and MLflow's default workspace."""
    json_columns = reading.reader.schema.json[table]
    row = {}
    for name, value in record.items():
        item = _parse(value) if name in json_columns else json_value(value)
        if item is not None and not (name == "workspace" and item == "default"):
            row[name] = item
    return row


def _parse(value: Any) -> Json:
    try:
        return json.loads(value) if isinstance(value, str) else json_value(value)
    except (ValueError, RecursionError):
        return value
