import pytest

from yprov_mlflow.collectors import ranks

TORCHRUN = {
    "RANK": "3",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "4",
    "TORCHELASTIC_RUN_ID": "none",
}
SLURM = {
    "SLURM_JOB_ID": "4711",
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "0",
    "SLURM_NTASKS": "8",
}
OPENMPI = {
    "OMPI_COMM_WORLD_RANK": "2",
    "OMPI_COMM_WORLD_LOCAL_RANK": "0",
    "OMPI_COMM_WORLD_SIZE": "16",
}


@pytest.mark.parametrize(
    ("environ", "facts"),
    [
        ({}, {}),
        (TORCHRUN, {"launcher": "torchrun", "rank": 3, "local_rank": 1, "world_size": 4}),
        (
            SLURM,
            {
                "launcher": "slurm",
                "rank": 5,
                "local_rank": 0,
                "world_size": 8,
                "job_id": "4711",
            },
        ),
        (OPENMPI, {"launcher": "openmpi", "rank": 2, "local_rank": 0, "world_size": 16}),
        (
            {"PMI_RANK": "1", "PMI_SIZE": "2", "PBS_JOBID": "12.head"},
            {"launcher": "mpich", "rank": 1, "world_size": 2, "job_id": "12.head"},
        ),
    ],
)
def test_launchers(environ, facts):
    assert ranks.collect(environ) == facts


def test_the_innermost_launcher_counts_within_the_same_job():
    facts = ranks.collect({**SLURM, **OPENMPI, **TORCHRUN})
    assert (facts["launcher"], facts["rank"], facts["job_id"]) == ("torchrun", 3, "4711")


def test_a_batch_script_is_no_rank():
    batch = {key: value for key, value in SLURM.items() if key != "SLURM_STEP_ID"}
    assert ranks.collect({**batch, "SLURM_PROCID": "0"}) == {"job_id": "4711"}


@pytest.mark.parametrize("rank", ["", "x", "-1", "1.0", "²"])
def test_what_is_no_number_is_no_rank(rank):
    assert ranks.collect({**TORCHRUN, "RANK": rank}) == {}


def test_someones_own_variable_called_rank_is_no_launcher():
    assert ranks.collect({"RANK": "1"}) == {}
