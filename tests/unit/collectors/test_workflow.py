"""Detection of workflow engines: by variables, files, ancestor processes and in threads."""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path

import pytest

from yprov_mlflow.prov.collectors import workflow, workflow_threads
from yprov_mlflow.prov.collectors.base import CollectorContext
from yprov_mlflow.prov.collectors.testing import check_collector
from yprov_mlflow.prov.collectors.workflow_engines import CONTRACT, FILES, PROCESSES, VARIABLES
from yprov_mlflow.prov.collectors.workflow_processes import command_digest

BOOT = "b00t"
GITHUB = "https://github.com/o/r/actions/runs/9/attempts/2"

CASES = {
    "contract": (
        {
            f"{CONTRACT}ENGINE": "make",
            f"{CONTRACT}ENGINE_VERSION": "4.3",
            f"{CONTRACT}NAME": "fit",
            f"{CONTRACT}ID": "fit-v2",
            f"{CONTRACT}RUN_ID": "r1",
            f"{CONTRACT}TASK": "train",
            f"{CONTRACT}TASK_ID": "train-3",
            f"{CONTRACT}ATTEMPT": "2",
            f"{CONTRACT}PARENT": "urn:campaign:1",
            f"{CONTRACT}IRI": "https://host/task/3",
            f"{CONTRACT}DOCUMENT": "/data/fit/prov.json",
        },
        {
            "engine": "make",
            "engine_version": "4.3",
            "workflow": "fit",
            "workflow_id": "fit-v2",
            "execution": "r1",
            "task": "train",
            "task_id": "train-3",
            "attempt": "2",
            "parent": "urn:campaign:1",
            "iri": "https://host/task/3",
            "document": "/data/fit/prov.json",
        },
    ),
    "torchrun": (
        {"TORCHELASTIC_RUN_ID": "2c5ea4c0-4067-11e9-8bad-9b1deb4d3b7d"},
        {"engine": "torchrun", "execution": "2c5ea4c0-4067-11e9-8bad-9b1deb4d3b7d"},
    ),
    "pbs": (
        {"PBS_JOBID": "12[3].server", "PBS_JOBNAME": "fit", "PBS_ARRAY_INDEX": "3"},
        {"engine": "pbs", "workflow": "fit", "execution": "12[3].server", "task": "3"},
    ),
    "airflow": (
        {
            "AIRFLOW_CTX_DAG_ID": "fit",
            "AIRFLOW_CTX_DAG_RUN_ID": "manual__2026",
            "AIRFLOW_CTX_TASK_ID": "train",
            "AIRFLOW_CTX_TRY_NUMBER": "1",
        },
        {
            "engine": "airflow",
            "workflow": "fit",
            "execution": "fit/manual__2026",
            "task": "train",
            "attempt": "1",
        },
    ),
    "prefect": (
        {"PREFECT__FLOW_RUN_ID": "f1", "PREFECT__FLOW_NAME": "fit"},
        {"engine": "prefect", "workflow": "fit", "execution": "f1"},
    ),
    "dagster": (
        {"DAGSTER_RUN_JOB_NAME": "fit", "DAGSTER_RUN_ID": "d1", "DAGSTER_RUN_STEP_KEY": "train"},
        {"engine": "dagster", "workflow": "fit", "execution": "d1", "task": "train"},
    ),
    "kubeflow": (
        {"KFP_RUN_ID": "k1", "KFP_PIPELINE_NAME": "fit", "KFP_POD_NAME": "fit-1"},
        {"engine": "kubeflow", "workflow": "fit", "execution": "k1", "task": "fit-1"},
    ),
    "argo": (
        {"ARGO_NODE_ID": "fit-x-1", "ARGO_TEMPLATE": "{}", "ARGO_WORKFLOW_UID": "u1"},
        {"engine": "argo", "execution": "u1", "task": "fit-x-1", "task_id": "fit-x-1"},
    ),
    "github-actions": (
        {
            "GITHUB_ACTIONS": "true",
            "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_REPOSITORY": "o/r",
            "GITHUB_RUN_ID": "9",
            "GITHUB_RUN_ATTEMPT": "2",
            "GITHUB_WORKFLOW": "CI",
            "GITHUB_JOB": "train",
            "RUNNER_NAME": "Runner 1",
        },
        {
            "engine": "github-actions",
            "workflow": "CI",
            "execution": GITHUB,
            "task": "train",
            "task_id": "train/Runner 1",
        },
    ),
    "ray": ({"RAY_JOB_ID": "01000000"}, {"engine": "ray", "workflow_id": "01000000"}),
    "slurm array": (
        {
            "SLURM_JOB_ID": "8",
            "SLURM_ARRAY_JOB_ID": "7",
            "SLURM_ARRAY_TASK_ID": "1",
            "SLURM_JOB_NAME": "fit",
            "SLURM_CLUSTER_NAME": "c",
        },
        {"engine": "slurm", "workflow": "fit", "execution": "c/7", "task": "1"},
    ),
    "slurm": ({"SLURM_JOB_ID": "8"}, {"engine": "slurm", "execution": "/8"}),
}


class Node:
    """A fake ``/proc`` with this process and its ancestors, the innermost first."""

    def __init__(self, folder):
        self.root = folder
        self.proc = folder / "proc"
        (self.proc / "sys/kernel/random").mkdir(parents=True)
        (self.proc / "sys/kernel/random/boot_id").write_text(BOOT)

    def processes(self, *argvs, environs=()):
        for number, argv in enumerate(argvs):
            pid = 100 - number
            folder = self.proc / str(pid)
            folder.mkdir()
            parent = pid - 1 if number + 1 < len(argvs) else 0
            fields = ["S", str(parent), *["0"] * 17, str(5000 + number), *["0"] * 5]
            (folder / "stat").write_text(f"{pid} (a b) c) {' '.join(fields)}")
            (folder / "cmdline").write_bytes(b"\0".join(map(os.fsencode, argv)) + b"\0")
            if number and number <= len(environs):
                pairs = [f"{k}={v}" for k, v in environs[number - 1].items()]
                (folder / "environ").write_bytes("\0".join(pairs).encode())
        (self.proc / "self").symlink_to("100")

    def collect(self, environ=None, cwd=None):
        return workflow.collect(self.root, environ or {}, cwd or self.root)

    def tasks(self, environ=None, cwd=None):
        return self.collect(environ, cwd).get("tasks", [])


@pytest.fixture
def machine(tmp_path):
    return Node(tmp_path)


def test_every_engine_with_variables_has_a_case():
    engines = {row.engine for row in VARIABLES} - {""}
    assert engines <= {task["engine"] for _, task in CASES.values()}
    sources = [row.source for row in (*VARIABLES, *PROCESSES, *FILES)]
    assert all(source.startswith(("observed: ", "read: ", "our own")) for source in sources)


@pytest.mark.parametrize("name", CASES)
def test_variables_name_the_task(machine, name):
    environ, expected = CASES[name]
    (task,) = machine.tasks(environ)
    assert task == {**expected, "via": "variables"}


@pytest.mark.parametrize("name", CASES)
def test_one_variable_less_is_no_error(machine, name):
    environ, _ = CASES[name]
    for missing in environ:
        machine.tasks({k: v for k, v in environ.items() if k != missing})


PROCESS_CASES = {
    "snakemake": (["python3.12", "/opt/bin/snakemake", "-s", "w/fit.smk"], "fit.smk"),
    "cwltool": (["/usr/bin/python", "cwltool", "--quiet", "fit.cwl", "in.yml"], "fit.cwl"),
    "toil": (["toil-cwl-runner", "fit.cwl"], "fit.cwl"),
    "streamflow": (["streamflow", "run", "/w/fit.yml"], "fit.yml"),
    "nextflow": (["java", "-Xmx1g", "-cp", "x", "nextflow.cli.Launcher", "run", "f.nf"], "f.nf"),
    "luigi": (["python", "-m", "luigi", "--module", "fit", "All"], "fit"),
    "dagster": (["python", "-m", "dagster", "api", "execute_run", "{}"], None),
}


@pytest.mark.parametrize("engine", [row.engine for row in PROCESSES])
def test_an_ancestor_process_names_the_engine(machine, engine):
    argv, name = PROCESS_CASES[engine]
    machine.processes(["python", "train.py"], ["bash", "run.sh"], argv, ["bash"])
    (task,) = machine.tasks()
    assert (task["engine"], task.get("workflow"), task["via"]) == (engine, name, "process")
    assert task["execution"] == f"{BOOT}/98-5002"


@pytest.mark.parametrize(
    "argv",
    [["vim", "snakemake"], ["python", "train.py", "snakemake"], ["streamflow", "list"], [""]],
)
def test_a_word_among_the_arguments_is_no_engine(machine, argv):
    machine.processes(["python", "train.py"], argv)
    assert machine.collect() == {}


def test_jobs_of_snakemake_share_the_execution_of_the_outer_process(machine):
    job = ["python", "-m", "snakemake", "--snakefile", "/w/Snakefile", "--target-jobs"]
    machine.processes(
        ["python", "train.py"], [*job, "train:seed=1,depth=3"], ["sh", "-c", "x"], ["snakemake"]
    )
    (task,) = machine.tasks()
    assert task["execution"] == f"{BOOT}/97-5003"
    assert (task["task"], task["task_id"]) == ("train", "train:depth=3,seed=1")
    assert "command" not in task


def test_commands_of_snakemake_meet_with_and_without_a_shell():
    logged = "python train.py --seed 1 'a b' --token s3cret-Xyz123456789"
    shell = "set -euo pipefail;  " + logged
    process = ["/opt/pyenv/bin/python", "train.py", "--seed", "1", "a b", "--token", "other-Zzz99"]
    assert command_digest(logged) == command_digest(shell)
    assert command_digest(logged) == command_digest(process)
    assert command_digest(logged) != command_digest(logged.replace("1", "2", 1))


def test_nesting_follows_the_processes(machine):
    array, dag = CASES["slurm array"][0], CASES["airflow"][0]
    argvs = [
        ["python", "train.py"],
        ["bash", "-c", "python train.py"],
        ["snakemake"],
        ["job"],
        ["x"],
    ]
    # SLURM started the job script, in a task of Airflow that waits for the job.
    machine.processes(*argvs, environs=[{**array, **dag}] * 3 + [dag])
    engines = [task["engine"] for task in machine.tasks({**array, **dag})]
    assert engines == ["snakemake", "slurm", "airflow"]


def test_a_file_of_nextflow_names_the_task(machine, tmp_path):
    folder = tmp_path / "work/ab/cdef01"
    folder.mkdir(parents=True)
    (folder / ".command.run").write_text("#!/bin/bash\n### ---\n### name: 'train (3)'\n")
    (task,) = machine.tasks({"NXF_TASK_WORKDIR": str(folder)}, folder)
    assert (task["engine"], task["task"], task["task_id"]) == ("nextflow", "train (3)", "ab/cdef01")
    assert machine.tasks({}, folder) == []


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("x" * (1 << 20), "longer than 1000 characters"),
        ("a\x1b[31mb", "control characters"),
        ("a\udcffb", "not text"),
    ],
)
def test_nonsense_is_named_and_costs_nothing_else(machine, value, reason):
    environ = {**CASES["airflow"][0], "AIRFLOW_CTX_TASK_ID": value}
    facts = machine.collect(environ)
    (task,) = facts["tasks"]
    assert task["execution"] == "fit/manual__2026" and "task" not in task
    (problem,) = facts["problems"]
    assert problem["variable"] == "AIRFLOW_CTX_TASK_ID" and reason in problem["reason"]


def test_secrets_are_withheld(machine):
    environ = {
        **CASES["contract"][0],
        f"{CONTRACT}IRI": "https://user:pw-Secret1@host/task",
        f"{CONTRACT}DOCUMENT": "s3://b/p.json?X-Amz-Signature=abcdef0123456789abcdef",
    }
    text = str(machine.collect(environ))
    assert "pw-Secret1" not in text and "abcdef0123456789" not in text


def test_outside_workflows_there_are_no_facts(machine):
    machine.processes(["python", "train.py"], ["bash"])
    assert machine.collect({"PATH": "/bin", "SLURM_CLUSTER_NAME": "c"}) == {}
    assert check_collector(workflow.Workflow, CollectorContext(root=machine.root, environ={}))


# -- threads -----------------------------------------------------------------------------


class Raises:
    def __call__(self, *_):
        raise ValueError("No worker found")


def test_threads_outside_tasks_have_no_facts(monkeypatch):
    assert workflow_threads.collect() == {}
    monkeypatch.setitem(sys.modules, "distributed", types.SimpleNamespace(get_worker=Raises()))
    assert workflow_threads.collect() == {}


def test_an_engine_of_another_version_is_named_as_a_problem(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", types.SimpleNamespace())
    (problem,) = workflow_threads.collect()["problems"]
    assert problem["variable"] == "ray" and "is_initialized" in problem["reason"]


def test_the_script_of_a_rule_names_its_job(monkeypatch):
    job_type = type("Snakemake", (), {"__module__": "snakemake.iocontainers"})
    job = job_type()
    job.rule, job.wildcards = "train", {"seed": 1}
    monkeypatch.setattr(sys.modules["__main__"], "snakemake", job, raising=False)
    (task,) = workflow_threads.collect()["tasks"]
    assert task == {
        "engine": "snakemake",
        "task": "train",
        "task_id": "train:seed=1",
        "via": "thread",
    }


def test_a_task_of_dask_is_the_thread_that_executes_it():
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=1, processes=False, dashboard_address=None, threads_per_worker=1
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        future = client.submit(workflow_threads.collect, key="train-1", pure=False)
        (task,) = future.result()["tasks"]
    assert (task["engine"], task["task"]) == ("dask", "train-1")
    assert task["task_id"].endswith("/train-1") and task["unique_task"] == "yes"
    assert workflow_threads.collect() == {}


def test_id_of_torchrun_that_users_choose_is_not_taken_for_unique() -> None:
    for run_id in ("none", "100", "my-job"):
        facts = workflow.collect(Path("/nowhere"), {"TORCHELASTIC_RUN_ID": run_id}, Path.cwd())
        assert facts == {}
