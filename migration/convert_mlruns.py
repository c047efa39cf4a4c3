"""Convert all MLflow stores beneath a folder: ``mlruns`` trees and SQLite databases.

    python migration/convert_mlruns.py ESTATE                 list the stores, with counts
    python migration/convert_mlruns.py ESTATE -o OUT          convert each, to OUT/<its path>
    python migration/convert_mlruns.py ESTATE --list stores   their paths alone, for scripts

What ``yprov-mlflow convert`` does for one store, this does for many: the same engine, one report.
Run again after a stop, it goes on where it stopped. Exit codes: 0 done, 1 nothing converted,
2 wrong usage, 3 something could not be converted and is named, 130 interrupted.
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
from yprov_mlflow.prov.convert.workers import InlineExecutor, ProcessExecutor
from yprov_mlflow.prov.errors import YprovMlflowError
from yprov_mlflow.prov.formats import FORMATS
from yprov_mlflow.prov.sources import open_source

DONE, FAILED, USAGE, PARTLY, INTERRUPTED = 0, 1, 2, 3, 130

DATABASES = {".db", ".db3", ".sqlite", ".sqlite3"}
"""Endings of files that are looked into."""

FEW_RUNS = 64
"""Up to so many, starting other processes takes longer than the runs do."""


def main(arguments: list[str] | None = None) -> int:
    """List or convert; gives the exit code."""
    asked = parser().parse_args(arguments)
    if not asked.estate.is_dir():
        print(f"{asked.estate}: there is no such folder", file=sys.stderr)
        return USAGE
    if asked.report is not None and not os.access(asked.report.parent, os.W_OK):
        print(f"{asked.report.parent}: there is no folder to write in", file=sys.stderr)
        return USAGE
    stores = list(find(asked.estate, asked.out))
    if not stores:
        print(f"{asked.estate}: there is no MLflow store beneath it", file=sys.stderr)
        return FAILED
    if asked.list == "stores":
        print(*stores, sep="\n")
        return DONE
    if asked.list == "experiments" or asked.out is None:
        return list_stores(stores, by_experiment=asked.list == "experiments")
    try:
        return convert(stores, asked)
    except KeyboardInterrupt:
        print("Interrupted. The same command goes on where it stopped.", file=sys.stderr)
        return INTERRUPTED


def parser() -> argparse.ArgumentParser:
    """Give the parser of the command line."""
    found = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    found.add_argument("estate", type=Path, metavar="ESTATE", help="folder to search")
    found.add_argument("-o", "--out", type=Path, metavar="OUT", help="convert, to this folder")
    found.add_argument(
        "--list",
        choices=("stores", "experiments"),
        help="print only paths, or lines of path, tab, id of an experiment",
    )
    found.add_argument("--to", action="append", choices=list(FORMATS), help="repeatable")
    found.add_argument("--layout", choices=LAYOUTS, default="per-run")
    found.add_argument("--points", choices=POINTS, default="auto")
    found.add_argument("--workers", type=int, default=os.cpu_count() or 1, metavar="N")
    found.add_argument("--report", type=Path, metavar="FILE", help="one JSON report of all")
    return found


# -- search --------------------------------------------------------------------------------


def find(estate: Path, out: Path | None) -> Iterator[Path]:
    """Give the stores beneath a folder; links are not followed, trees not searched further."""
    skipped = out.resolve() if out is not None else None
    for folder, names, files in os.walk(estate):
        here = Path(folder)
        databases = [here / name for name in sorted(files) if is_database(here / name)]
        yield from databases
        if is_tree(here, names):
            yield here
            names.clear()
        names[:] = sorted(
            name for name in names if name[:1] != "." and (here / name).resolve() != skipped
        )
        if databases and "mlruns" in names and holds_artifacts_alone(here / "mlruns"):
            names.remove("mlruns")


def is_tree(folder: Path, names: list[str]) -> bool:
    """Tell whether a folder is the root of an ``mlruns`` tree."""
    return folder.name == "mlruns" or any(is_experiment(folder / name) for name in names)


def holds_artifacts_alone(folder: Path) -> bool:
    """Tell whether a folder beside a database has what its runs logged, and no run of its own."""
    found = list(folder.iterdir())
    kept = any(path.name in (".trash", "models") for path in found)
    return not kept and not any(map(is_experiment, found))


def is_experiment(folder: Path) -> bool:
    """Tell whether a folder is an experiment's: only its ``meta.yaml`` says where artifacts go."""
    try:
        with (folder / "meta.yaml").open("rb") as file:
            return b"artifact_location:" in file.read(65536)
    except OSError:
        return False


def is_database(path: Path) -> bool:
    """Tell whether a file is a SQLite database that has runs of MLflow."""
    if path.suffix.lower() not in DATABASES:
        return False
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as opened:
            rows = opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            return {"experiments", "runs"} <= {name for (name,) in rows}
    except sqlite3.Error:
        return False


# -- list ----------------------------------------------------------------------------------


def list_stores(stores: list[Path], *, by_experiment: bool) -> int:
    """Print what each store has, and what of it cannot be read."""
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


def convert(stores: list[Path], asked: argparse.Namespace) -> int:
    """Convert all stores; one that fails as a whole does not stop the others."""
    reports: list[dict[str, Any]] = []
    lossless = True
    try:
        for store in stores:
            below = store.relative_to(asked.estate)
            out = asked.out / (below if below.parts else store.resolve().name)
            try:
                report = convert_one(store, out, asked)
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
        if asked.report is not None:
            asked.report.write_text(json.dumps(summary(reports), indent=2) + "\n", "utf-8")
    if all("error" in report for report in reports):
        return FAILED
    return DONE if lossless else PARTLY


def convert_one(store: Path, out: Path, asked: argparse.Namespace) -> ConversionReport:
    """Convert one store."""
    request = Request(
        source=str(store),
        out=out.absolute(),
        formats=tuple(dict.fromkeys(asked.to or ["prov-json"])),
        layout=asked.layout,
        points=asked.points,
    )
    conversion = Conversion(request, InlineExecutor())
    if asked.workers > 1 and conversion.report.runs > FEW_RUNS:
        conversion.workers = ProcessExecutor(asked.workers)
    for _ in conversion:
        pass
    return conversion.report


def summary(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """Give one report of many."""
    counted = ("runs", "converted", "unchanged", "failed", "records", "points", "bytes")
    totals = {name: sum(report.get(name, 0) for report in reports) for name in counted}
    return {"stores": len(reports), **totals, "reports": reports}


if __name__ == "__main__":
    sys.exit(main())
