"""Builds small SQLite databases with the tables of MLflow 0.9.1 or 1.x, valid and damaged ones."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

RUN = "0123456789abcdef0123456789abcdef"

OLDEST = """
CREATE TABLE experiments (experiment_id INTEGER PRIMARY KEY, name VARCHAR(256) NOT NULL,
    artifact_location VARCHAR(256), lifecycle_stage VARCHAR(32));
CREATE TABLE runs (run_uuid VARCHAR(32) PRIMARY KEY, name VARCHAR(250), source_type VARCHAR(20),
    source_name VARCHAR(500), entry_point_name VARCHAR(50), user_id VARCHAR(256),
    status VARCHAR(20), start_time BIGINT, end_time BIGINT, source_version VARCHAR(50),
    lifecycle_stage VARCHAR(20), artifact_uri VARCHAR(200), experiment_id INTEGER);
CREATE TABLE tags (key VARCHAR(250), value VARCHAR(250), run_uuid VARCHAR(32),
    PRIMARY KEY (key, run_uuid));
CREATE TABLE params (key VARCHAR(250), value VARCHAR(250), run_uuid VARCHAR(32),
    PRIMARY KEY (key, run_uuid));
CREATE TABLE metrics (key VARCHAR(250), value FLOAT, timestamp BIGINT, run_uuid VARCHAR(32),
    PRIMARY KEY (key, timestamp, run_uuid, value));
INSERT INTO experiments VALUES (0, 'Default', '/x/mlruns/0', 'active');
"""
"""The tables of MLflow 0.9.1, the first version with a database."""

NEWER = """
ALTER TABLE metrics ADD COLUMN step BIGINT NOT NULL DEFAULT 0;
ALTER TABLE metrics ADD COLUMN is_nan BOOLEAN NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN deleted_time BIGINT;
"""


def add_run(connection: sqlite3.Connection, run_id: str = RUN, **changes: Any) -> None:
    """Insert a run with default values, except for the columns in ``changes``."""
    columns = {
        "run_uuid": run_id,
        "name": "",
        "source_type": "UNKNOWN",
        "source_name": "",
        "status": "FINISHED",
        "start_time": 1_550_000_000_000,
        "end_time": 1_550_000_009_000,
        "lifecycle_stage": "active",
        "experiment_id": 0,
        **changes,
    }
    marks = ", ".join("?" * len(columns))
    names = ", ".join(columns)
    connection.execute(f"INSERT INTO runs ({names}) VALUES ({marks})", [*columns.values()])


def metric(
    key: str, value: Any, timestamp: Any, step: int = 0, is_nan: int = 0, *, run: str = RUN
) -> tuple[str, tuple[Any, ...]]:
    """Return a statement that inserts a metric point, and its parameters."""
    names = "key, value, timestamp, run_uuid, step, is_nan"
    parameters = (key, value, timestamp, run, step, is_nan)
    return f"INSERT INTO metrics ({names}) VALUES (?, ?, ?, ?, ?, ?)", parameters


def make_database(path: Path, *statements: Any, oldest: bool = False, **columns: Any) -> str:
    """Create a database with one run, execute the statements, and return its path.

    ``oldest`` chooses the schema of MLflow 0.9.1; ``columns`` are values of the run.
    """
    path.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(OLDEST if oldest else OLDEST + NEWER)
        add_run(connection, **columns)
        for statement in statements:
            connection.execute(*([statement] if isinstance(statement, str) else statement))
        connection.commit()
    return str(path)
