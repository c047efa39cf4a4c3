"""What each workflow engine leaves in the environment of its tasks, as a table.

``source`` says where a row comes from: ``observed`` with the version that was run, or ``read``
with the public documentation or source code that says so. Engines of which neither is known are
not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

_UUID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"

CONTRACT = "YPROV_WORKFLOW_"
"""Start of the variables by which any engine or script can name its task."""


class ByVariables(NamedTuple):
    """An engine that sets variables for its tasks.

    Args:
        engine: Its name in documents.
        required: Variables that must all be set, in the order of their use for nesting.
        variables: For each fact the variables that may have it, the most reliable first.
        execution: Template of the execution's id, from variables; without one of them there is
            none, except for those that end with "?".
        source: Where this is known from.
        task_id: Template of a task's id that is unique in the execution; its name by default.
        pattern: Regular expression for the value of the first required variable.
    """

    engine: str
    required: tuple[str, ...]
    variables: Mapping[str, tuple[str, ...]]
    execution: str
    source: str
    task_id: str = ""
    pattern: str = ""


class ByProcess(NamedTuple):
    """An engine that is recognized by the command line of an ancestor process.

    Args:
        engine: Its name in documents.
        programs: Names of its program, or of its module after ``-m``.
        workflow: Options whose value names the workflow, such as its file.
        suffixes: Extensions of the argument that is the workflow's file.
        source: Where this is known from.
        words: Words that must be among the arguments, such as a subcommand.
        task: Option with the task, of processes that the engine starts for one task.
        shell: Whether the engine starts tasks through a shell, whose command identifies the task.
        scripts: Part of the path of scripts that the engine makes for tasks.
    """

    engine: str
    programs: tuple[str, ...]
    workflow: tuple[str, ...]
    suffixes: tuple[str, ...]
    source: str
    words: tuple[str, ...] = ()
    task: str = ""
    shell: bool = False
    scripts: str = "\0"


class ByFile(NamedTuple):
    """An engine that leaves a file in the working directory of its tasks.

    Args:
        engine: Its name in documents.
        required: A variable that must be set as well.
        file: The file.
        task: Patterns of its line with the task's name.
        folders: Number of folders of the working directory's path that are the task's unique id.
        source: Where this is known from.
    """

    engine: str
    required: str
    file: str
    task: tuple[str, ...]
    folders: int
    source: str


VARIABLES = (
    ByVariables(
        "",  # the contract names the engine itself
        (f"{CONTRACT}ENGINE",),
        {
            "engine": (f"{CONTRACT}ENGINE",),
            "engine_version": (f"{CONTRACT}ENGINE_VERSION",),
            "workflow": (f"{CONTRACT}NAME",),
            "workflow_id": (f"{CONTRACT}ID",),
            "task": (f"{CONTRACT}TASK", f"{CONTRACT}TASK_ID"),
            "attempt": (f"{CONTRACT}ATTEMPT",),
            "parent": (f"{CONTRACT}PARENT",),
            "iri": (f"{CONTRACT}IRI",),
            "document": (f"{CONTRACT}DOCUMENT",),
        },
        f"{{{CONTRACT}RUN_ID}}",
        "our own contract, docs/workflows.md",
        task_id=f"{{{CONTRACT}TASK_ID}}",
    ),
    ByVariables(
        "airflow",
        ("AIRFLOW_CTX_DAG_ID", "AIRFLOW_CTX_DAG_RUN_ID"),
        {
            "workflow": ("AIRFLOW_CTX_DAG_ID",),
            "task": ("AIRFLOW_CTX_TASK_ID",),
            "attempt": ("AIRFLOW_CTX_TRY_NUMBER",),
        },
        "{AIRFLOW_CTX_DAG_ID}/{AIRFLOW_CTX_DAG_RUN_ID}",
        "observed: Airflow 3.3.2, for every operator",
    ),
    ByVariables(
        "prefect",
        ("PREFECT__FLOW_RUN_ID",),
        {"workflow": ("PREFECT__FLOW_NAME",)},
        "{PREFECT__FLOW_RUN_ID}",
        "read: prefect.runtime.flow_run, workers set it for each flow run",
    ),
    ByVariables(
        "dagster",
        ("DAGSTER_RUN_JOB_NAME", "DAGSTER_RUN_ID"),
        {"workflow": ("DAGSTER_RUN_JOB_NAME",), "task": ("DAGSTER_RUN_STEP_KEY",)},
        "{DAGSTER_RUN_ID}",
        "read: dagster-k8s and dagster-docker run launchers and step handlers",
    ),
    ByVariables(
        "kubeflow",
        ("KFP_RUN_ID",),
        {"workflow": ("KFP_PIPELINE_NAME", "KFP_RUN_NAME"), "task": ("KFP_POD_NAME",)},
        "{KFP_RUN_ID}",
        "read: Kubeflow Pipelines, variables of its launcher",
    ),
    ByVariables(
        "argo",
        ("ARGO_NODE_ID", "ARGO_TEMPLATE"),
        {"workflow": ("ARGO_WORKFLOW_NAME",), "task": ("ARGO_NODE_ID",)},
        "{ARGO_WORKFLOW_UID}",
        "read: Argo Workflows, workflow/common/common.go and workflowpod.go",
        task_id="{ARGO_NODE_ID}",
    ),
    ByVariables(
        "github-actions",
        ("GITHUB_ACTIONS", "GITHUB_RUN_ID", "GITHUB_REPOSITORY"),
        {
            "workflow": ("GITHUB_WORKFLOW",),
            "task": ("GITHUB_JOB",),
            "workflow_id": ("GITHUB_WORKFLOW_REF",),
        },
        "{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/actions/runs/{GITHUB_RUN_ID}"
        "/attempts/{GITHUB_RUN_ATTEMPT}",
        "read: GitHub documentation, Default environment variables",
        # Jobs of a matrix have the same name, but each has its runner.
        task_id="{GITHUB_JOB}/{RUNNER_NAME}",
    ),
    ByVariables(
        "ray",
        ("RAY_JOB_ID",),
        {"workflow_id": ("RAY_JOB_ID",)},
        "",  # jobs are counted in each cluster from 1
        "read: Ray, variables of its worker processes",
    ),
    ByVariables(
        "torchrun",
        ("TORCHELASTIC_RUN_ID",),
        {},
        "{TORCHELASTIC_RUN_ID}",
        "read: PyTorch documentation, torchrun; --standalone makes a UUID",
        # Other ids are chosen by users, who use them again.
        pattern=_UUID,
    ),
    ByVariables(
        "pbs",
        ("PBS_JOBID",),
        {"workflow": ("PBS_JOBNAME",), "task": ("PBS_ARRAY_INDEX",)},
        "{PBS_JOBID}",
        "read: PBS Professional documentation, qsub; the id ends with the server's name",
    ),
    ByVariables(
        "slurm",
        ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID"),
        {
            "workflow": ("SLURM_JOB_NAME",),
            "task": ("SLURM_ARRAY_TASK_ID",),
            "attempt": ("SLURM_RESTART_COUNT",),
        },
        "{SLURM_CLUSTER_NAME?}/{SLURM_ARRAY_JOB_ID}",
        "read: SLURM documentation, sbatch(1), Job array support",
    ),
    ByVariables(
        "slurm",
        ("SLURM_JOB_ID",),
        {"workflow": ("SLURM_JOB_NAME",), "attempt": ("SLURM_RESTART_COUNT",)},
        "{SLURM_CLUSTER_NAME?}/{SLURM_JOB_ID}",
        "read: SLURM documentation, sbatch(1)",
    ),
)
"""Engines by their variables; the first is the innermost where processes do not show it."""

PROCESSES = (
    ByProcess(
        "snakemake",
        ("snakemake",),
        ("--snakefile", "-s"),
        (".smk", "Snakefile"),
        "observed: Snakemake 9.27.1",
        task="--target-jobs",
        shell=True,
        scripts="/.snakemake/scripts/",
    ),
    ByProcess("cwltool", ("cwltool", "cwl-runner"), (), (".cwl",), "observed: cwltool 3.3.2026"),
    ByProcess(
        "toil",
        ("toil-cwl-runner", "toil-wdl-runner", "_toil_worker"),
        (),
        (".cwl", ".wdl"),
        "read: Toil documentation, Running CWL workflows",
    ),
    ByProcess(
        "streamflow",
        ("streamflow",),
        (),
        (".yml", ".yaml"),
        "read: StreamFlow documentation, streamflow run",
        words=("run",),
    ),
    ByProcess(
        "nextflow",
        ("nextflow", "nextflow.cli.Launcher"),
        (),
        (".nf",),
        "read: Nextflow documentation, nextflow run",
        words=("run",),
    ),
    ByProcess(
        "luigi", ("luigi",), ("--module",), (), "observed: Luigi 3.8.1, also in the task's process"
    ),
    ByProcess(
        "dagster",
        ("dagster",),
        (),
        (),
        "read: dagster api execute_run and execute_step, which launchers start",
        words=("api",),
    ),
)
"""Engines by the command lines of ancestor processes."""

FILES = (
    ByFile(
        "nextflow",
        "NXF_TASK_WORKDIR",
        ".command.run",
        (r"### name: '(.+)'", r"# NEXTFLOW TASK: (.+)"),
        2,
        "read: Nextflow, command-run.txt and BashWrapperBuilder",
    ),
)
"""Engines by files in the working directory of the task."""

THREADS = {
    "snakemake": "observed: Snakemake 9.27.1, the object `snakemake` of a rule's script",
    "luigi": "observed: Luigi 3.8.1, the task process that calls `run`",
    "dask": "observed: distributed 2026.8.0, `get_worker`",
    "ray": "read: Ray documentation, `get_runtime_context`",
    "prefect": "observed: Prefect 3.9.1, `FlowRunContext` and `TaskRunContext`",
    "dagster": "observed: Dagster 1.13.29, `OpExecutionContext.get`",
    "airflow": "observed: Airflow 3.3.2, `get_current_context`",
}
"""Engines whose libraries know the task of a thread, with the source of that."""

TAGS = {
    "mlflow-projects": "observed: MLflow 3.17.2, its tag `mlflow.project.entryPoint`",
    "databricks-jobs": "read: MLflow, mlflow_tags.py, `mlflow.databricks.jobID` and `jobRunID`",
}
"""Engines that only tags of MLflow name, with the source of that."""
