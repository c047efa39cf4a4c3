"""Rank and world size of this process, from the variables of launchers of parallel jobs."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from yprov_mlflow.prov.events import Json

_PMI = {
    "rank": ("PMI_RANK",),
    "local_rank": ("MPI_LOCALRANKID", "PMI_LOCAL_RANK"),
    "world_size": ("PMI_SIZE",),
    "local_world_size": ("MPI_LOCALNRANKS", "PMI_LOCAL_SIZE"),
}

# Name; a variable that must be set, because users have variables such as RANK of their own; and the
# variables of each fact, the most reliable first. The innermost launcher comes first: torchrun may
# run in an MPI task, and that in a SLURM step. SLURM may set PMI's variables itself, with less
# information than its own, so it precedes plain PMI; only MPICH's mpiexec sets MPI_LOCALRANKID. A
# batch script has SLURM_PROCID=0, but only a process of a step is a rank.
_LAUNCHERS = (
    (
        "torchrun",
        "WORLD_SIZE",
        {
            "rank": ("RANK",),
            "local_rank": ("LOCAL_RANK",),
            "world_size": ("WORLD_SIZE",),
            "local_world_size": ("LOCAL_WORLD_SIZE",),
            "node": ("GROUP_RANK",),
        },
    ),
    (
        "openmpi",
        "OMPI_COMM_WORLD_SIZE",
        {
            "rank": ("OMPI_COMM_WORLD_RANK",),
            "local_rank": ("OMPI_COMM_WORLD_LOCAL_RANK",),
            "world_size": ("OMPI_COMM_WORLD_SIZE",),
            "local_world_size": ("OMPI_COMM_WORLD_LOCAL_SIZE",),
        },
    ),
    ("mpich", "MPI_LOCALRANKID", _PMI),
    (
        "slurm",
        "SLURM_STEP_ID",
        {
            "rank": ("SLURM_PROCID",),
            "local_rank": ("SLURM_LOCALID",),
            "world_size": ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"),
            "local_world_size": ("SLURM_STEP_TASKS_PER_NODE", "SLURM_NTASKS_PER_NODE"),
            "node": ("SLURM_NODEID",),
        },
    ),
    ("mpich", "PMI_SIZE", _PMI),
)
# Variables that all ranks of a job have with the same value. A step of SLURM starts its ranks, or
# the agents of torchrun; mpirun starts those of the first node outside any step.
_OF_SCHEDULERS = ("SLURM_CLUSTER_NAME", "SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "LSB_JOBINDEX")
_OF_LAUNCHERS = {
    "torchrun": ("SLURM_STEP_ID", "TORCHELASTIC_RUN_ID", "MASTER_ADDR"),
    "openmpi": ("PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid"),
    "mpich": ("PMI_JOBID", "PALS_APID"),
    "slurm": ("SLURM_STEP_ID",),
}
_NO_RUN_ID = ("", "none")  # torchrun's without --rdzv-id
_RESTARTS = ("SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT")
_REPEATED = re.compile(r"\(x\d+\)\Z")
_JOB_IDS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "TORCHELASTIC_RUN_ID")


def collect(environ: Mapping[str, str] = os.environ) -> dict[str, Json]:
    """Return the rank of this process.

    Returns:
        ``launcher``, ``rank``, ``local_rank``, ``world_size``, ``local_world_size`` (ranks on
        this node), ``node`` (number of the node in the job) and ``job_id``, without unknown
        ones; empty for a process without a launcher.
    """
    facts: dict[str, Json] = {}
    for launcher, required, variables in _LAUNCHERS:
        numbers = {key: _number(environ, names) for key, names in variables.items()}
        if required in environ and numbers["rank"] is not None:
            facts["launcher"] = launcher
            facts |= {key: number for key, number in numbers.items() if number is not None}
            break
    for variable in _JOB_IDS:
        job = environ.get(variable, "")
        if job not in _NO_RUN_ID:
            facts["job_id"] = job
            break
    return facts


class Job(NamedTuple):
    """A job of several ranks.

    Args:
        key: A text that all of its ranks have, and no other job at the same time.
        rank: Number of this rank.
        size: Number of all ranks.
        restarts: How often the job was started again.
        has_agents: Whether one process starts a rank again on its machine, as torchrun does.
    """

    key: str
    rank: int
    size: int
    restarts: int
    has_agents: bool


def job(environ: Mapping[str, str] = os.environ) -> Job | None:
    """Return the job that this process is a rank of; None for a process of its own."""
    facts = collect(environ)
    rank, size = facts.get("rank"), facts.get("world_size")
    if not isinstance(rank, int) or not isinstance(size, int) or size < 2:
        return None
    launcher = str(facts["launcher"])
    names = [*_OF_SCHEDULERS, *_OF_LAUNCHERS[launcher]]
    # A port is fixed only where nothing else tells two jobs apart: torchrun takes a new one when it
    # starts its ranks again.
    if launcher == "torchrun" and environ.get("TORCHELASTIC_RUN_ID", "") in _NO_RUN_ID:
        names.append("MASTER_PORT")
    values = {name: environ[name] for name in names if environ.get(name)}
    key = json.dumps([launcher, size, values], sort_keys=True)
    restarts = sum(_number(environ, (name,)) or 0 for name in _RESTARTS)
    return Job(key, rank, size, restarts, launcher == "torchrun")


def first_value(environ: Mapping[str, str], variables: Sequence[str]) -> str:
    """Return the value of the first of several variables that is set and not empty, or ""."""
    return next((environ[name] for name in variables if environ.get(name)), "")


def _number(environ: Mapping[str, str], variables: Sequence[str]) -> int | None:
    # SLURM writes "4(x2)" for two nodes with 4 tasks each, and "4(x2),3" if they differ.
    text = _REPEATED.sub("", first_value(environ, variables).strip())
    return int(text) if text.isascii() and text.isdigit() else None
