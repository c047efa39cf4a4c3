"""Run the truth oracle: ``python -m truth --programs 1000 --store sqlite`` in the folder tests.

Random programs call MLflow. The oracle compares what is true with what documents state, on each
road of ``roads``. A difference is a fact that is missing, false, or stated twice.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys

from truth.roads import PROGRAMS_OF_A_PROCESS, Job, check

STORES = ("sqlite", "file", "server", "offline")


def main() -> int:
    """Run the oracle from the command line; exit with 1 if a document is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="number of the first program")
    parser.add_argument("--store", choices=STORES, default="sqlite")
    parser.add_argument("--delivery", choices=("direct", "failover", "deferred"), default="direct")
    arguments = parser.parse_args()
    numbers = range(arguments.seed, arguments.seed + arguments.programs)
    jobs = [
        Job(numbers[i : i + PROGRAMS_OF_A_PROCESS], arguments.store, arguments.delivery)
        for i in range(0, len(numbers), PROGRAMS_OF_A_PROCESS)
    ]
    done = total = 0
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for job, found in zip(jobs, pool.imap(check, jobs), strict=True):
            done, total = done + len(job.seeds), total + len(found)
            print("".join(f"{difference}\n" for difference in found), end="")
            print(f"{done} programs on {arguments.store}: {total} differences", flush=True)
    return bool(total)


if __name__ == "__main__":
    sys.exit(main())
