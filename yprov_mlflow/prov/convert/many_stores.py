"""All MLflow stores below a folder: ``mlruns`` folders and SQLite databases."""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from yprov_mlflow.prov.convert.engine import Conversion, ConversionReport
from yprov_mlflow.prov.convert.executors import InlineExecutor, ProcessExecutor
from yprov_mlflow.prov.convert.request import Request
from yprov_mlflow.prov.sources import open_source
from yprov_mlflow.prov.sources.source import Problem

_DATABASE_SUFFIXES = {".db", ".db3", ".sqlite", ".sqlite3"}
_FEW_RUNS = 64  # up to this number, starting processes takes longer than converting


def find(top: Path, out: Path | None = None) -> Iterator[Path]:
    """Yield the stores below a folder; links, the output and folders inside stores are skipped."""
    skipped = out.resolve() if out is not None else None
    for path, names, files in os.walk(top):
        folder = Path(path)
        databases = [folder / name for name in sorted(files) if _is_database(folder / name)]
        # A database beside an mlruns folder usually has the runs, and the folder the artifacts.
        yield from databases
        if _is_file_store(folder, names):
            yield folder
            names.clear()
        names[:] = sorted(
            name for name in names if name[:1] != "." and (folder / name).resolve() != skipped
        )
        if databases and "mlruns" in names and _has_only_artifacts(folder / "mlruns"):
            names.remove("mlruns")


def _is_file_store(folder: Path, names: list[str]) -> bool:
    return folder.name == "mlruns" or any(_is_experiment(folder / name) for name in names)


def _has_only_artifacts(folder: Path) -> bool:
    """Return whether the folder beside a database has artifacts of its runs, but no runs."""
    paths = list(folder.iterdir())
    has_store_folder = any(path.name in (".trash", "models") for path in paths)
    return not has_store_folder and not any(map(_is_experiment, paths))


def _is_experiment(folder: Path) -> bool:
    """Return whether a folder is an experiment: only its ``meta.yaml`` has artifact_location."""
    try:
        with (folder / "meta.yaml").open("rb") as file:
            return b"artifact_location:" in file.read(65536)
    except OSError:
        return False


def _is_database(path: Path) -> bool:
    """Return whether a file is a SQLite database with MLflow runs."""
    if path.suffix.lower() not in _DATABASE_SUFFIXES:
        return False
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            rows = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            return {"experiments", "runs"} <= {name for (name,) in rows}
    except sqlite3.Error:
        return False


def contents(store: Path) -> tuple[Counter[str], int, list[Problem]]:
    """Return the number of runs by experiment, that of deleted runs, and problems of a store.

    Raises:
        StoreError: The store cannot be read.
    """
    with closing(open_source(str(store))) as source:
        refs, problems = list(source.runs()), source.problems()
    deleted = sum(ref.lifecycle == "deleted" for ref in refs)
    return Counter(ref.experiment_id for ref in refs), deleted, problems


def convert(request: Request, workers: int) -> ConversionReport:
    """Convert one store.

    Raises:
        YprovMlflowError: The store cannot be read, or the output cannot be written.
    """
    conversion = Conversion(request, InlineExecutor())
    if workers > 1 and conversion.report.runs > _FEW_RUNS:
        conversion.workers = ProcessExecutor(workers)
    for _ in conversion:
        pass
    return conversion.report


def summary(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """Return one report of many."""
    counts = ("runs", "converted", "unchanged", "failed", "records", "points", "bytes")
    totals = {name: sum(report.get(name, 0) for report in reports) for name in counts}
    return dict(stores=len(reports), **totals, reports=reports)
