"""Convert all MLflow stores below a folder: ``mlruns`` folders and SQLite databases.

    python migration/convert_mlruns.py FOLDER                 list the stores, with counts
    python migration/convert_mlruns.py FOLDER -o OUT          convert each to OUT/<its path>
    python migration/convert_mlruns.py FOLDER --list stores   only their paths, for scripts

This does for many stores what ``yprov-mlflow convert`` does for one, and writes one report. An
interrupted conversion continues when the command is repeated. Exit codes: 0 everything is
converted, 1 nothing is, 2 wrong usage, 3 something could not be converted and is listed, 130
interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from yprov_mlflow.prov.convert import LAYOUTS, POINTS, Conversion, ConversionReport, Request
from yprov_mlflow.prov.convert.executors import InlineExecutor, ProcessExecutor
from yprov_mlflow.prov.errors import YprovMlflowError
from yprov_mlflow.prov.formats import FORMATS
from yprov_mlflow.prov.sources import open_source

DONE, FAILED, USAGE, PARTLY, INTERRUPTED = 0, 1, 2, 3, 130

DATABASE_SUFFIXES = {".db", ".db3", ".sqlite", ".sqlite3"}

# Up to this number of runs, starting processes takes longer than converting.
FEW_RUNS = 64


def main(arguments: list[str] | None = None) -> int:
    """List or convert; return the exit code."""
    options = parser().parse_args(arguments)
    if not options.folder.is_dir():
        print(f"{options.folder}: no such folder", file=sys.stderr)
        return USAGE
    if options.report is not None and not os.access(options.report.parent, os.W_OK):
        print(f"{options.report.parent}: no such folder, or not writable", file=sys.stderr)
        return USAGE
    stores = list(find_stores(options.folder, options.out))
    if not stores:
        print(f"{options.folder}: contains no MLflow store", file=sys.stderr)
        return FAILED
    if options.list == "stores":
        print(*stores, sep="\n")
        return DONE
    if options.list == "experiments" or options.out is None:
        return list_stores(stores, by_experiment=options.list == "experiments")
    try:
        return convert(stores, options)
    except KeyboardInterrupt:
        print("Interrupted. Repeat the command to continue.", file=sys.stderr)
        return INTERRUPTED


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    result = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    result.add_argument("folder", type=Path, metavar="FOLDER", help="folder to search")
    result.add_argument("-o", "--out", type=Path, metavar="OUT", help="convert to this folder")
    result.add_argument(
        "--list",
        choices=("stores", "experiments"),
        help="print only paths, or lines of path, tab, experiment id",
    )
    result.add_argument("--to", action="append", choices=list(FORMATS), help="repeatable")
    result.add_argument("--layout", choices=LAYOUTS, default="per-run")
    result.add_argument("--points", choices=POINTS, default="auto")
    result.add_argument("--workers", type=int, default=os.cpu_count() or 1, metavar="N")
    result.add_argument("--report", type=Path, metavar="FILE", help="write one JSON report")
    return result


# -- search --------------------------------------------------------------------------------


def find_stores(top: Path, out: Path | None) -> Iterator[Path]:
    """Yield the stores below a folder; links, the output and folders inside stores are skipped."""
    skipped = out.resolve() if out is not None else None
    for path, names, files in os.walk(top):
        folder = Path(path)
        databases = [folder / name for name in sorted(files) if is_database(folder / name)]
        yield from databases
        if is_file_store(folder, names):
            yield folder
            names.clear()
        names[:] = sorted(
            name for name in names if name[:1] != "." and (folder / name).resolve() != skipped
        )
        if databases and "mlruns" in names and has_only_artifacts(folder / "mlruns"):
            names.remove("mlruns")


def is_file_store(folder: Path, names: list[str]) -> bool:
    """Return whether a folder is the root of a file store."""
    return folder.name == "mlruns" or any(is_experiment(folder / name) for name in names)


def has_only_artifacts(folder: Path) -> bool:
    """Return whether the folder beside a database has artifacts of its runs, but no runs."""
    paths = list(folder.iterdir())
    has_store_folder = any(path.name in (".trash", "models") for path in paths)
    return not has_store_folder and not any(map(is_experiment, paths))


def is_experiment(folder: Path) -> bool:
    """Return whether a folder is an experiment: only its ``meta.yaml`` has artifact_location."""
    try:
        with (folder / "meta.yaml").open("rb") as file:
            return b"artifact_location:" in file.read(65536)
    except OSError:
        return False


def is_database(path: Path) -> bool:
    """Return whether a file is a SQLite database with MLflow runs."""
    if path.suffix.lower() not in DATABASE_SUFFIXES:
        return False
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            rows = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            return {"experiments", "runs"} <= {name for (name,) in rows}
    except sqlite3.Error:
        return False


# -- list ----------------------------------------------------------------------------------


def list_stores(stores: list[Path], *, by_experiment: bool) -> int:
    """Print the counts or experiments of each store, and its problems."""
    code = DONE
    if not by_experiment:
        print(f"{'runs':>8} {'deleted':>8} {'experiments':>12}  store")
    for store in stores:
        try:
            with closing(open_source(str(store))) as source:
                refs, problems = list(source.runs()), source.problems()
        except YprovMlflowError as error:
            print(error, file=sys.stderr)
            code = PARTLY
            continue
        experiments = Counter(ref.experiment_id for ref in refs)
        if by_experiment:
            for experiment_id in experiments:
                print(store, experiment_id, sep="\t")
        else:
            deleted = sum(ref.lifecycle == "deleted" for ref in refs)
            print(f"{len(refs):>8} {deleted:>8} {len(experiments):>12}  {store}")
        for problem in problems:
            print(f"{problem.place}: {problem.reason}", file=sys.stderr)
    return code


# -- convert -------------------------------------------------------------------------------


def convert(stores: list[Path], options: argparse.Namespace) -> int:
    """Convert all stores; a store that fails does not stop the others."""
    reports: list[dict[str, Any]] = []
    lossless = True
    try:
        for store in stores:
            below = store.relative_to(options.folder)
            out = options.out / (below if below.parts else store.resolve().name)
            try:
                report = convert_store(store, out, options)
            except YprovMlflowError as error:
                print(error, file=sys.stderr)
                reports.append({"source": str(store), "error": str(error)})
                lossless = False
                continue
            print(f"{report.converted + report.unchanged:>8} of {report.runs} runs  {out}")
            for problem in report.losses:
                print(f"{problem.place}: {problem.reason} ({problem.lost})", file=sys.stderr)
            lossless = lossless and not report.losses
            reports.append(report.to_json_object())
    finally:
        if options.report is not None:
            options.report.write_text(json.dumps(summary(reports), indent=2) + "\n", "utf-8")
    if all("error" in report for report in reports):
        return FAILED
    return DONE if lossless else PARTLY


def convert_store(store: Path, out: Path, options: argparse.Namespace) -> ConversionReport:
    """Convert one store."""
    request = Request(
        source=str(store),
        out=out.absolute(),
        formats=tuple(dict.fromkeys(options.to or ["prov-json"])),
        layout=options.layout,
        points=options.points,
    )
    conversion = Conversion(request, InlineExecutor())
    if options.workers > 1 and conversion.report.runs > FEW_RUNS:
        conversion.workers = ProcessExecutor(options.workers)
    for _ in conversion:
        pass
    return conversion.report


def summary(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """Return one report of many."""
    counts = ("runs", "converted", "unchanged", "failed", "records", "points", "bytes")
    totals = {name: sum(report.get(name, 0) for report in reports) for name in counts}
    return {"stores": len(reports), **totals, "reports": reports}


if __name__ == "__main__":
    sys.exit(main())
