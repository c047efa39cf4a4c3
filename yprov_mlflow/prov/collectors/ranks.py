"""Which process of how many: what launchers of parallel jobs say in the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import NamedTuple

from yprov_mlflow.prov.events import Json


class _Launcher(NamedTuple):
    """The variables of one launcher; ``needs`` must be set for the others to count.

    Each fact has the variables that may say it, the surest first.
    """

    name: str
    needs: str
    rank: str
    facts: Mapping[str, tuple[str, ...]]


_PMI = {
    "local_rank": ("MPI_LOCALRANKID", "PMI_LOCAL_RANK"),
    "world_size": ("PMI_SIZE",),
    "local_world_size": ("MPI_LOCALNRANKS", "PMI_LOCAL_SIZE"),
}

# The innermost first: torchrun may run in an MPI task, and that in a SLURM step. But SLURM can
# set PMI's variables itself, which know less than its own; MPICH's mpiexec adds to them. A batch
# script of SLURM has SLURM_PROCID=0 and is no rank: only a step is.
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
_JOBS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "TORCHELASTIC_RUN_ID")


def collect(environ: Mapping[str, str] = os.environ) -> dict[str, Json]:
    """Say which rank this process is.

    Returns:
        ``launcher``, ``rank``, ``local_rank``, ``world_size``, ``local_world_size`` (ranks on
        this node), ``node`` (the node's number in the job) and ``job_id``, each only where it
        is known; nothing for a process that no launcher started.
    """
    facts: dict[str, Json] = {}
    for launcher in _LAUNCHERS:
        rank = _number(environ, launcher.rank)
        if rank is None or launcher.needs not in environ:
            continue
        facts["launcher"] = launcher.name
        facts["rank"] = rank
        for key, variables in launcher.facts.items():
            variable = next((one for one in variables if one in environ), "")
            if (number := _number(environ, variable)) is not None:
                facts[key] = number
        break
    for variable in _JOBS:
        job = environ.get(variable, "")
        if job and job != "none":  # what torchrun says when it was given none
            facts["job_id"] = job
            break
    return facts


def _number(environ: Mapping[str, str], variable: str) -> int | None:
    # SLURM says "4(x2)" of two nodes with 4 tasks each, and "4(x2),3" where they differ.
    text = _REPEATED.sub("", environ.get(variable, "").strip())
    return int(text) if text.isascii() and text.isdigit() else None
