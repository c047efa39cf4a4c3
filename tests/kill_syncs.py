"""Kill synchronizations at random moments: ``python tests/kill_syncs.py DIR --to URI --kills 300``.

DIR is a folder of journals, URI an empty store. The last synchronization is not killed: it must
finish what the others left, and one more must find nothing to do.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import time
from pathlib import Path

from yprov_mlflow.prov.restore import RestoreReport
from yprov_mlflow.prov.restore.synchronization import Synchronization, SyncRequest


def synchronize(journals: Path, uri: str) -> RestoreReport:
    """Make one pass and return its report."""
    with Synchronization(SyncRequest((journals,), uri)) as work:
        (report,) = work.run()
    return report


def kill(journals: Path, uri: str, kills: int, seed: int, longest_s: float) -> int:
    """Start synchronizations and kill them; return how many had ended by themselves."""
    chance, ended = random.Random(seed), 0
    for _ in range(kills):
        child = os.fork()
        if child == 0:
            try:
                synchronize(journals, uri)
            finally:
                os._exit(0)
        time.sleep(chance.uniform(0, longest_s))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        ended += status == 0
    return ended


def main() -> int:
    """Kill synchronizations from the command line; exit with 1 if the last leaves something."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("journals", type=Path)
    parser.add_argument("--to", required=True)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    start = time.monotonic()
    ended = kill(arguments.journals, arguments.to, arguments.kills, arguments.seed, 3.0)
    last, again = (synchronize(arguments.journals, arguments.to) for _ in range(2))
    print(f"{arguments.kills} kills, {ended} after the end, in {time.monotonic() - start:.0f} s")
    print(f"last: {last.changed} records written, {len(last.losses)} losses")
    print(f"once more: {again.changed} records written, {len(again.losses)} losses")
    return bool(again.changed or last.losses or again.losses)


if __name__ == "__main__":
    sys.exit(main())
