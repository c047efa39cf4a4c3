"""Measure what the collector of files costs a loop that loads data.

Each process loads all files twice, in a run without collectors and in one with ``files``, in turns
first and second. Every file is opened for the first time in its run, so that all of them are noted,
sent to the process that hashes, and hashed. README.md has the details.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from overhead import Goal, Pair, summarize, table

GOAL = Goal("ratio", 1.01)
MODES = ("none", "files")


def make_npy(path: Path) -> None:
    import numpy as np

    np.save(path, np.random.default_rng().integers(0, 255, (224, 224, 3), dtype=np.uint8))


def load_npy(path: str) -> None:
    import numpy as np

    np.load(path).mean()


def make_csv(path: Path) -> None:
    import numpy as np

    np.savetxt(path, np.random.default_rng().random((200, 8)), fmt="%.6f", delimiter=",")


def load_csv(path: str) -> None:
    import pandas as pd

    pd.read_csv(path, header=None).mean()


def make_image(path: Path) -> None:
    import numpy as np
    from PIL import Image

    pixels = np.random.default_rng().integers(0, 255, (28, 28, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((224, 224)).save(path)


def load_image(path: str) -> None:
    import numpy as np
    from PIL import Image

    with Image.open(path) as image:
        np.asarray(image).mean()


KINDS: dict[str, tuple[Callable[[Path], None], Callable[[str], None], str]] = {
    "npy, 150 KB": (make_npy, load_npy, "npy"),
    "csv, 200 rows": (make_csv, load_csv, "csv"),
    "jpg, 224 x 224": (make_image, load_image, "jpg"),
}


def measure(kind: str, folder: Path, first: str) -> None:
    """Print the seconds of both loops, of the thread's processor and by the clock, and of ends."""
    import yprov_mlflow as mlflow

    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    load, ending = KINDS[kind][1:]
    paths = [entry.path for entry in sorted(os.scandir(folder / ending), key=lambda e: e.name)]
    for path in paths:  # from here on, all are in memory
        load(path)
    seconds = {}
    for mode in sorted(MODES, key=lambda mode: mode != first):
        mlflow.prov.use_collectors(mode)
        with mlflow.start_run():
            time.sleep(1)  # the collectors have started
            wall_s, cpu_s = time.perf_counter(), time.thread_time()
            for path in paths:
                load(path)
            loop = time.thread_time() - cpu_s, time.perf_counter() - wall_s
            end_s = time.perf_counter()
        seconds[mode] = (*loop, time.perf_counter() - end_s)
    sys.stdout.write(json.dumps(seconds))


def main() -> None:
    """Measure each kind of file in several processes, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", default=list(KINDS), help=", ".join(KINDS))
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=9)
    parser.add_argument("--measure", nargs=2, metavar=("FOLDER", "FIRST"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.kinds[0], Path(options.measure[0]), options.measure[1])
        return
    rows = []
    for kind in options.kinds:
        make, _, ending = KINDS[kind]
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            (Path(name) / ending).mkdir()
            for number in range(options.files):
                make(Path(name) / ending / f"{number:05}.{ending}")
            # The program works in the folder of its data, or all of these would be temporary files.
            results = [
                json.loads(
                    subprocess.run(
                        [sys.executable, __file__, kind, "--measure", name, MODES[number % 2]],
                        cwd=name,
                        env={**os.environ, "YPROV_MLFLOW_DIR": f"{name}/state"},
                        check=True,
                        capture_output=True,
                    ).stdout
                )
                for number in range(options.processes)
            ]
        for position, what in enumerate(("CPU of the loop", "loop", "end of the run")):
            pairs = [Pair(*(result[mode][position] for mode in MODES)) for result in results]
            goal = GOAL if what != "end of the run" else None
            rows.append(summarize(f"{kind}: {what}", "s", pairs, goal))
    sys.stdout.write(table(rows, MODES) + "\n")


if __name__ == "__main__":
    main()
