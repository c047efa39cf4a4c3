import pytest

from yprov_mlflow.prov.collectors import ranks

TORCHRUN = {
    "RANK": "3",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "4",
    "LOCAL_WORLD_SIZE": "2",
    "GROUP_RANK": "1",
    "TORCHELASTIC_RUN_ID": "none",
}
SLURM = {
    "SLURM_JOB_ID": "4711",
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_NTASKS": "8",
    "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
    "SLURM_NODEID": "1",
}
OPENMPI = {
    "OMPI_COMM_WORLD_RANK": "2",
    "OMPI_COMM_WORLD_LOCAL_RANK": "0",
    "OMPI_COMM_WORLD_SIZE": "16",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "8",
}
MPICH = {
    "PMI_RANK": "1",
    "PMI_SIZE": "2",
    "MPI_LOCALRANKID": "0",
    "MPI_LOCALNRANKS": "1",
    "PBS_JOBID": "12.head",
}


@pytest.mark.parametrize(
    ("environ", "facts"),
    [
        ({}, {}),
        (
            TORCHRUN,
            {
                "launcher": "torchrun",
                "rank": 3,
                "local_rank": 1,
                "world_size": 4,
                "local_world_size": 2,
                "node": 1,
            },
        ),
        (
            SLURM,
            {
                "launcher": "slurm",
                "rank": 5,
                "local_rank": 1,
                "world_size": 8,
                "local_world_size": 4,
                "node": 1,
                "job_id": "4711",
            },
        ),
        (
            OPENMPI,
            {
                "launcher": "openmpi",
                "rank": 2,
                "local_rank": 0,
                "world_size": 16,
                "local_world_size": 8,
            },
        ),
        (
            MPICH,
            {
                "launcher": "mpich",
                "rank": 1,
                "local_rank": 0,
                "world_size": 2,
                "local_world_size": 1,
                "job_id": "12.head",
            },
        ),
        (
            {"PMI_RANK": "1", "PMI_SIZE": "2"},
            {"launcher": "mpich", "rank": 1, "world_size": 2},
        ),
        (
            {"PMI_RANK": "5", "PMI_SIZE": "8", "PMI_LOCAL_RANK": "1", "PMI_LOCAL_SIZE": "4"},
            {
                "launcher": "mpich",
                "rank": 5,
                "local_rank": 1,
                "world_size": 8,
                "local_world_size": 4,
            },
        ),
    ],
)
def test_launchers(environ, facts):
    assert ranks.collect(environ) == facts


def test_innermost_launcher_wins():
    facts = ranks.collect({**SLURM, **OPENMPI, **TORCHRUN})
    assert (facts["launcher"], facts["rank"], facts["job_id"]) == ("torchrun", 3, "4711")


def test_slurm_wins_over_its_own_pmi_variables():
    pmi = {"PMI_RANK": "5", "PMI_SIZE": "8"}
    assert ranks.collect({**SLURM, **pmi}) == ranks.collect(SLURM)


def test_mpich_in_a_slurm_step():
    facts = ranks.collect({**SLURM, **MPICH})
    assert (facts["launcher"], facts["rank"], facts["local_rank"]) == ("mpich", 1, 0)


def test_batch_script_is_not_a_rank():
    batch = {key: value for key, value in SLURM.items() if key != "SLURM_STEP_ID"}
    assert ranks.collect({**batch, "SLURM_PROCID": "0"}) == {"job_id": "4711"}


@pytest.mark.parametrize("rank", ["", "x", "-1", "1.0", "²"])
def test_rank_that_is_not_a_number(rank):
    assert ranks.collect({**TORCHRUN, "RANK": rank}) == {}


def test_variable_rank_without_launcher():
    assert ranks.collect({"RANK": "1"}) == {}


@pytest.mark.parametrize(
    ("variables", "tasks"),
    [
        ({"SLURM_STEP_TASKS_PER_NODE": "4"}, 4),
        ({"SLURM_STEP_TASKS_PER_NODE": "4(x2),3", "SLURM_NTASKS_PER_NODE": "4"}, None),
        ({"SLURM_NTASKS_PER_NODE": "4"}, 4),
        ({}, None),
    ],
)
def test_slurm_local_world_size(variables, tasks):
    slurm = {key: value for key, value in SLURM.items() if "TASKS_PER_NODE" not in key}
    assert ranks.collect({**slurm, **variables}).get("local_world_size") == tasks


def test_slurm_node_is_ignored_in_mpi():
    # mpirun starts its daemons in a step of their own, which numbers the other nodes from 0.
    assert "node" not in ranks.collect({**SLURM, **OPENMPI})


STEP = {
    "SLURM_JOB_ID": "17",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_NODEID": "1",
}
TORCH = {
    "WORLD_SIZE": "4",
    "TORCHELASTIC_RUN_ID": "none",
    "MASTER_ADDR": "node0",
    "MASTER_PORT": "29500",
}


def key(environ: dict[str, str], rank: str, variable: str) -> str | None:
    job = ranks.job({**environ, variable: rank})
    return job.key if job is not None else None


def test_ranks_of_a_job_have_one_key() -> None:
    nodes = [STEP, {**STEP, "SLURM_NODEID": "0", "HOSTNAME": "node0"}]
    assert len({key(node, rank, "SLURM_PROCID") for node in nodes for rank in "0123"}) == 1
    assert len({key(TORCH, rank, "RANK") for rank in "0123"}) == 1


def test_jobs_have_different_keys() -> None:
    jobs = [STEP, {**STEP, "SLURM_STEP_ID": "1"}, {**STEP, "SLURM_JOB_ID": "18"}]
    assert len({key(job, "0", "SLURM_PROCID") for job in jobs}) == 3
    assert key(TORCH, "0", "RANK") != key({**TORCH, "MASTER_PORT": "29501"}, "0", "RANK")


def test_restart_with_another_port_keeps_the_key_of_a_named_job() -> None:
    named = {**TORCH, "TORCHELASTIC_RUN_ID": "mine", "TORCHELASTIC_RESTART_COUNT": "1"}
    other = {**named, "MASTER_PORT": "29501"}
    assert key(named, "0", "RANK") == key(other, "0", "RANK")
    job = ranks.job({**other, "RANK": "2"})
    assert job is not None
    assert (job.rank, job.restarts, job.has_agents) == (2, 1, True)


def test_process_of_its_own_has_no_job() -> None:
    assert ranks.job({}) is None
    assert ranks.job({**STEP, "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}) is None
