"""The commands of ``docs/cluster.md``, in their order, under a pretended SLURM."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from integration.conftest import Sandbox
from yprov_mlflow.prov.events import SessionStarted
from yprov_mlflow.prov.journal import JournalDirectory, JournalReader

PAGE = (Path(__file__).parents[2] / "docs" / "cluster.md").read_text("utf-8")
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)

SBATCH = """#!/bin/bash
export SLURM_JOB_ID=4711 SLURM_SUBMIT_DIR="$PWD" SLURM_NTASKS=2 SLURM_JOB_NAME=job
bash "$1"
SLURM_RESTART_COUNT=1 bash "$1"
"""
"""Runs a job, and again after a requeue."""

SRUN = """#!/bin/bash
export SLURM_STEP_ID=0
SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0 "$@" &
SLURM_PROCID=1 SLURM_LOCALID=0 SLURM_NODEID=1 "$@" &
wait %1 && wait %2
"""


class Block(NamedTuple):
    """A block of code of the page; the first line of a file names it."""

    language: str
    text: str

    @property
    def file(self) -> str | None:
        if self.text.startswith("#!"):
            return "job.sh"
        match = re.match(r"# (\S+\.\w+)\n", self.text)
        return match[1] if match else None


BLOCKS = [Block(*match) for match in _BLOCK.findall(PAGE)]


@pytest.fixture(scope="module")
def cluster(shared_sandbox: Sandbox) -> Sandbox:
    """Return a sandbox with the files of the page and the commands of SLURM."""
    folder = shared_sandbox.folder
    (folder / "bin").mkdir()
    for name, script in (("sbatch", SBATCH), ("srun", SRUN)):
        (folder / "bin" / name).write_text(script)
        (folder / "bin" / name).chmod(0o755)
    for block in BLOCKS:
        if block.file is not None:
            (folder / block.file).write_text(block.text)
    path = shared_sandbox.environment["PATH"]
    shared_sandbox.environment["PATH"] = f"{folder / 'bin'}:{path}"
    shared_sandbox.environment["YPROV_MLFLOW_COLLECTORS"] = "none"
    return shared_sandbox


@pytest.mark.long
def test_commands_of_the_page_work(cluster: Sandbox) -> None:
    commands = [block.text for block in BLOCKS if block.language == "console"]
    outputs = [cluster.call("bash", "-ec", command).out for command in commands]
    submitted, looked, recovered = outputs[:3]
    assert submitted == ""
    assert sorted(looked.splitlines()) == ["rank 0 FINISHED 0.01", "rank 1 FINISHED 0.01"]
    assert "current" in recovered
    runs = cluster.folder / "runs"
    folders = [f for f in JournalDirectory.all(runs) if not f.run_id.startswith("store:")]
    assert len(folders) == 2
    for folder in folders:
        sessions = [
            event
            for file in folder.files()
            for event in JournalReader(file)
            if isinstance(event, SessionStarted)
        ]
        assert len(sessions) == 2  # one before the requeue, one after it


def test_every_file_and_command_of_the_page_is_used() -> None:
    assert {block.file for block in BLOCKS if block.language != "console"} == {
        *("train.py", "look.py", "job.sh", "task.sh")
    }
