"""Compare the lineage of random pipelines with the truth, in the folder ``tests``.

``python -m lineage_scenarios --pipelines 1000`` prints precision and recall of all answers, and the
first that are wrong.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lineage_scenarios.answers import outcomes
from lineage_scenarios.pipelines import READS, play
from lineage_scenarios.stores import graph_of_runs

_OF_A_PROCESS = 25
_MOST_SHOWN = 10


def main() -> int:
    """Run the comparison; exit with 1 if an answer is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pipelines", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="number of the first pipeline")
    parser.add_argument("--store", choices=("file", "sqlite"), default="file")
    parser.add_argument("--reads", default=",".join(READS), help="kinds of reading")
    parser.add_argument("--inner", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    numbers = range(arguments.seed, arguments.seed + arguments.pipelines)
    if arguments.inner:
        return _inner(numbers, Path(arguments.inner), arguments.reads.split(","))
    failed = 0
    for start in range(numbers.start, numbers.stop, _OF_A_PROCESS):
        with tempfile.TemporaryDirectory() as folder:
            count = min(_OF_A_PROCESS, numbers.stop - start)
            command = [sys.executable, "-m", "lineage_scenarios", f"--pipelines={count}"]
            command += [f"--seed={start}", f"--inner={folder}", f"--reads={arguments.reads}"]
            failed |= subprocess.run(
                command, env=environment(Path(folder), arguments.store)
            ).returncode
    return failed


def environment(folder: Path, store: str = "file") -> dict[str, str]:
    """Return the environment of a process that plays pipelines in a folder."""
    uri = f"{folder}/mlruns" if store == "file" else f"sqlite:///{folder}/mlflow.db"
    # MLflow downloads there. Below it, the files of the pipelines would count as temporary, too.
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    return os.environ | {
        "TMPDIR": str(temporary),
        "MLFLOW_TRACKING_URI": f"yprov+{uri}",
        "MLFLOW_ALLOW_FILE_STORE": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "YPROV_MLFLOW_DIR": f"{folder}/state",
        "YPROV_MLFLOW_COLLECTORS": "files",
        "YPROV_MLFLOW_INDEX": "off",
        "PYTHONWARNINGS": "ignore",
    }


def _inner(numbers: range, folder: Path, reads: Sequence[str]) -> int:
    os.chdir(folder)
    pipelines = play(numbers, folder, reads)
    graph = graph_of_runs([run for pipeline in pipelines for run in pipeline.runs])
    results = list(outcomes(graph, pipelines))
    wrong = [outcome for outcome in results if outcome.false or outcome.missing]
    true, false, missing = (
        sum(outcome.true for outcome in results),
        sum(len(outcome.false) for outcome in results),
        sum(len(outcome.missing) for outcome in results),
    )
    for outcome in wrong[:_MOST_SHOWN]:
        print(f"{outcome.question}\n  false {set(outcome.false)}\n  missing {set(outcome.missing)}")
    precision, recall = (true / (true + n) if true + n else 1.0 for n in (false, missing))
    print(
        f"{numbers.start}-{numbers.stop - 1}: {len(results)} questions, {true} things,"
        f" precision {precision:.6f}, recall {recall:.6f}",
        flush=True,
    )
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
