"""Rank and world size of this process, from the variables of launchers of parallel jobs."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import NamedTuple

from yprov_mlflow.prov.events import Json


class _Launcher(NamedTuple):
    """The variables of one launcher, per fact, the most reliable first.

    ``requires`` must be set too: users have variables such as ``RANK`` of their own.
    """

    name: str
    requires: str
    rank: str
    facts: Mapping[str, tuple[str, ...]]


_PMI = {
    "local_rank": ("MPI_LOCALRANKID", "PMI_LOCAL_RANK"),
    "world_size": ("PMI_SIZE",),
    "local_world_size": ("MPI_LOCALNRANKS", "PMI_LOCAL_SIZE"),
}

# The innermost launcher first: torchrun may run in an MPI task, and that in a SLURM step. SLURM
# may set PMI's variables itself, with less information than its own, so it precedes plain PMI;
# only MPICH's mpiexec sets MPI_LOCALRANKID. A batch script has SLURM_PROCID=0, but only a process
# of a step is a rank.
_LAUNCHERS = (
    _Launcher(
        "torchrun",
        "WORLD_SIZE",
        "RANK",
        {
            "local_rank": ("LOCAL_RANK",),
            "world_size": ("WORLD_SIZE",),
            "local_world_size": ("LOCAL_WORLD_SIZE",),
            "node": ("GROUP_RANK",),
        },
    ),
    _Launcher(
        "openmpi",
        "OMPI_COMM_WORLD_SIZE",
        "OMPI_COMM_WORLD_RANK",
        {
            "local_rank": ("OMPI_COMM_WORLD_LOCAL_RANK",),
            "world_size": ("OMPI_COMM_WORLD_SIZE",),
            "local_world_size": ("OMPI_COMM_WORLD_LOCAL_SIZE",),
        },
    ),
    _Launcher("mpich", "MPI_LOCALRANKID", "PMI_RANK", _PMI),
    _Launcher(
        "slurm",
        "SLURM_STEP_ID",
        "SLURM_PROCID",
        {
            "local_rank": ("SLURM_LOCALID",),
            "world_size": ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"),
            "local_world_size": ("SLURM_STEP_TASKS_PER_NODE", "SLURM_NTASKS_PER_NODE"),
            "node": ("SLURM_NODEID",),
        },
    ),
    _Launcher("mpich", "PMI_SIZE", "PMI_RANK", _PMI),
)
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
    for launcher in _LAUNCHERS:
        rank = _number(environ, launcher.rank)
        if rank is None or launcher.requires not in environ:
            continue
        facts["launcher"] = launcher.name
        facts["rank"] = rank
        for key, variables in launcher.facts.items():
            variable = next((name for name in variables if name in environ), "")
            if (number := _number(environ, variable)) is not None:
                facts[key] = number
        break
    for variable in _JOB_IDS:
        job = environ.get(variable, "")
        if job and job != "none":  # torchrun's value without --rdzv-id
            facts["job_id"] = job
            break
    return facts


def _number(environ: Mapping[str, str], variable: str) -> int | None:
    # SLURM writes "4(x2)" for two nodes with 4 tasks each, and "4(x2),3" if they differ.
    text = _REPEATED.sub("", environ.get(variable, "").strip())
    return int(text) if text.isascii() and text.isdigit() else None
