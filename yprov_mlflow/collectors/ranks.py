"""Which process of how many: what launchers of parallel jobs say in the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from yprov_mlflow.events import Json


class _Launcher(NamedTuple):
    """The variables of one launcher; ``needs`` must be set for the others to count."""

    name: str
    needs: str
    rank: str
    local_rank: str
    world_size: str


# The innermost first: torchrun may run in an MPI task, and that in a SLURM step. A batch
# script of SLURM has SLURM_PROCID=0 and is no rank: only a step is.
_LAUNCHERS = (
    _Launcher("torchrun", "WORLD_SIZE", "RANK", "LOCAL_RANK", "WORLD_SIZE"),
    _Launcher(
        "openmpi",
        "OMPI_COMM_WORLD_SIZE",
        "OMPI_COMM_WORLD_RANK",
        "OMPI_COMM_WORLD_LOCAL_RANK",
        "OMPI_COMM_WORLD_SIZE",
    ),
    _Launcher("mpich", "PMI_SIZE", "PMI_RANK", "MPI_LOCALRANKID", "PMI_SIZE"),
    _Launcher("slurm", "SLURM_STEP_ID", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NTASKS"),
)
_JOBS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "TORCHELASTIC_RUN_ID")


def collect(environ: Mapping[str, str] = os.environ) -> dict[str, Json]:
    """Say which rank this process is.

    Returns:
        ``launcher``, ``rank``, ``local_rank``, ``world_size`` and ``job_id``, each only
        where it is known; nothing for a process that no launcher started.
    """
    facts: dict[str, Json] = {}
    for launcher in _LAUNCHERS:
        rank = _number(environ, launcher.rank)
        if rank is None or launcher.needs not in environ:
            continue
        facts["launcher"] = launcher.name
        facts["rank"] = rank
        for key, variable in (
            ("local_rank", launcher.local_rank),
            ("world_size", launcher.world_size),
        ):
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
    text = environ.get(variable, "").strip()
    return int(text) if text.isascii() and text.isdigit() else None
