"""Count the logging calls per second that survive ``kill -9``, of this package and its peers.

Each tracker logs points in a process of its own, as fast as it can; a call counts once it has
returned. The process is killed at a random moment, and a second one reads what is there, after the
tracker's own remedy if it has one (``recover``, ``sync``). Trackers take turns.

    python benchmarks/survival.py --rounds 5 --mltraq VENV/bin/python --yprov4ml VENV/bin/python
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import random
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Log = Callable[[int], Any]
SAVED_EVERY = 100  # points of trackers that write a file as a whole
_COUNT = struct.Struct("=q")


# -- in the process that is killed ---------------------------------------------------------------


def with_mlflow(folder: Path, uri: str, *, synchronous: bool = True) -> Log:
    """Return a logging call of MLflow, or of this package, depending on the URI."""
    import mlflow

    mlflow.set_tracking_uri(uri)
    run = mlflow.start_run()
    (folder / "run").write_text(run.info.run_id)
    return lambda i: mlflow.log_metric("loss", i / 7, step=i, synchronous=synchronous)


def with_mltraq(folder: Path, every: int) -> Log:
    import mltraq
    from mltraq.utils.sequence import Sequence

    experiment = mltraq.create_session(f"sqlite:///{folder}/mltraq.db").create_experiment("e")
    run = experiment.add_run().runs.first()
    run.fields.loss = Sequence()

    def log(i: int) -> None:
        run.fields.loss.append(value=i / 7, step=i)
        if i % every == 0:
            experiment.persist(if_exists="replace")

    return log


def with_yprov4ml(folder: Path, every: int) -> Log:
    import yprov4ml

    os.chdir(folder)
    yprov4ml.start_run(
        experiment_name="e",
        provenance_save_dir="prov",
        metrics_file_type="csv",
        save_after_n_logs=every,
        disable_codecarbon=True,
    )
    return lambda i: yprov4ml.log_metric("loss", i / 7, step=i)


def start(tracker: str, folder: Path) -> Log:
    """Return the logging call of a tracker whose files are in ``folder``."""
    database = f"sqlite:///{folder}/m.db"
    match tracker:
        case "mlflow":
            return with_mlflow(folder, database)
        case "mlflow async":
            return with_mlflow(folder, database, synchronous=False)
        case "yprov direct":
            return with_mlflow(folder, f"yprov+{database}")
        case "yprov deferred":
            return with_mlflow(folder, f"yprov+{database}?yprov-delivery=deferred")
        case "yprov offline":
            return with_mlflow(folder, f"yprov:{folder}/off")
        case "mltraq" | "mltraq each call":
            return with_mltraq(folder, SAVED_EVERY if tracker == "mltraq" else 1)
        case "yprov4ml" | "yprov4ml each call":
            return with_yprov4ml(folder, SAVED_EVERY if tracker == "yprov4ml" else 1)
    raise ValueError(tracker)


def log_until_killed(tracker: str, folder: Path) -> None:
    """Log points; a file that survives the process has the number of calls that returned."""
    log = start(tracker, folder)
    log(0)
    with (folder / "count").open("r+b") as file, mmap.mmap(file.fileno(), _COUNT.size) as count:
        i = 1
        while True:
            log(i)
            i += 1
            _COUNT.pack_into(count, 0, i)


# -- afterwards ----------------------------------------------------------------------------------


def stored(folder: Path) -> int:
    """Return the number of points that MLflow's database has."""
    import mlflow

    run_id = (folder / "run").read_text()
    client = mlflow.MlflowClient(f"sqlite:///{folder}/m.db")
    return len(client.get_metric_history(run_id, "loss"))


def survivors(tracker: str, folder: Path) -> int:
    """Return the number of points that are there after the kill and the tracker's own remedy."""
    command = [sys.executable, "-m", "yprov_mlflow"]
    quiet = {"check": False, "capture_output": True}
    if tracker == "yprov offline":
        database = f"sqlite:///{folder}/m.db"
        subprocess.run([*command, "sync", f"{folder}/off", "--to", database], **quiet)
    elif tracker.startswith("yprov ") and "4ml" not in tracker:
        subprocess.run([*command, "recover", "--yes"], **quiet)
    if tracker.startswith("mltraq"):
        import mltraq

        experiments = mltraq.create_session(f"sqlite:///{folder}/mltraq.db")
        return len(experiments.load_experiment("e").runs.first().fields.loss)
    if tracker.startswith("yprov4ml"):
        files = folder.glob("prov/**/*.csv")
        return sum(max(0, len(file.read_text().splitlines()) - 1) for file in files)
    return stored(folder)


# -- rounds --------------------------------------------------------------------------------------


def one_round(tracker: str, python: str, seconds: float) -> tuple[float, float, int]:
    """Return calls per second that returned and that survived, and how many were lost."""
    with tempfile.TemporaryDirectory(prefix="yprov-survival-") as name:
        folder = Path(name)
        (folder / "count").write_bytes(_COUNT.pack(0))
        environment = {
            **os.environ,
            "YPROV_MLFLOW_DIR": str(folder / "state"),
            "YPROV_MLFLOW_SINKS": "none",
            "YPROV_MLFLOW_COLLECTORS": "none",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        words = [python, __file__, "--tracker", tracker, "--folder", name]
        child = subprocess.Popen(
            words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        count = folder / "count"
        while not (first := _COUNT.unpack(count.read_bytes())[0]):
            if child.poll() is not None:
                raise RuntimeError(f"{tracker} does not start: {' '.join(words)}")
            time.sleep(0.02)
        begun = time.perf_counter()
        time.sleep(seconds)
        child.kill()
        child.wait()
        took = time.perf_counter() - begun
        returned = _COUNT.unpack(count.read_bytes())[0]
        done = subprocess.run(
            [*words, "--read"], env=environment, capture_output=True, text=True, check=False
        )
        last = done.stdout.strip().rpartition("\n")[2]
        found = int(last) if done.returncode == 0 and last.isdigit() else 0
    lost = max(0, returned - found)
    return (returned - first) / took, max(0, returned - first - lost) / took, lost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mltraq", metavar="PYTHON", help="interpreter that has mltraq")
    parser.add_argument("--yprov4ml", metavar="PYTHON", help="interpreter that has yProv4ML")
    parser.add_argument("--tracker", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--read", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.tracker:
        if args.read:
            print(survivors(args.tracker, args.folder))
        else:
            log_until_killed(args.tracker, args.folder)
        return
    own = ("mlflow", "mlflow async", "yprov direct", "yprov deferred", "yprov offline")
    pythons = dict.fromkeys(own, sys.executable)
    for name in ("mltraq", "yprov4ml"):
        if python := getattr(args, name):
            pythons |= {name: python, f"{name} each call": python}
    random.seed(args.seed)
    rows: dict[str, list[tuple[float, float, int]]] = {tracker: [] for tracker in pythons}
    for _ in range(args.rounds):
        seconds = random.uniform(1.0, 4.0)
        for tracker, python in pythons.items():
            rows[tracker].append(one_round(tracker, python, seconds))
    print(f"{'tracker':22} {'returned/s':>11} {'survived/s':>11} {'to MLflow':>10} {'lost calls'}")
    reference = statistics.median(row[1] for row in rows["mlflow"])
    for tracker, results in rows.items():
        returned, survived = (statistics.median(row[k] for row in results) for k in (0, 1))
        lost = json.dumps([row[2] for row in results])
        print(f"{tracker:22} {returned:11.0f} {survived:11.0f} {survived / reference:9.1f}x {lost}")


if __name__ == "__main__":
    main()
