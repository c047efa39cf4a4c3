"""The workflow task of the calling thread, from engines that run tasks in this process.

One process may execute many tasks, so this is read in the thread that starts a run. It reads only
libraries that are already imported, and only their memory.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from types import FrameType, ModuleType
from typing import Any

from yprov_mlflow.prov.events import Json
from yprov_mlflow.prov.ids import job_id

_MOST_FRAMES = 200


def collect() -> dict[str, Json]:
    """Return the facts about the tasks of this thread, as ``workflow.collect`` does.

    Returns:
        ``tasks``, the innermost first, and ``problems`` for engines that could not be asked;
        empty if this thread executes no task.
    """
    tasks: list[dict[str, Json]] = []
    problems: list[dict[str, str]] = []
    for module_name, read in _READERS.items():
        module = sys.modules.get(module_name)
        if module is None:
            continue
        try:
            task = read(module)
        except Exception as error:  # noqa: BLE001 - other versions of other packages can raise anything
            reason = f"{type(error).__name__}: {error}"[:200]
            problems.append({"variable": module_name, "reason": reason})
            continue
        if task:
            texts = {key: str(value) for key, value in task.items() if value not in (None, "")}
            tasks.append({**texts, "via": "thread"})
    facts: dict[str, Json] = {}
    if tasks:
        facts["tasks"] = tasks
    if problems:
        facts["problems"] = problems
    return facts


def _snakemake(main: ModuleType) -> Mapping[str, object] | None:
    # A script of a rule has this object among its globals.
    job: Any = vars(main).get("snakemake")
    if not type(job).__module__.startswith("snakemake"):
        return None
    task_id = job_id(job.rule, dict(job.wildcards.items()))
    return {"engine": "snakemake", "task": job.rule, "task_id": task_id}


def _airflow(sdk: ModuleType) -> Mapping[str, object] | None:
    try:
        task = sdk.get_current_context()["ti"]
    except RuntimeError:  # outside tasks
        return None
    index = getattr(task, "map_index", None)
    return {
        "engine": "airflow",
        "workflow": task.dag_id,
        "execution": f"{task.dag_id}/{task.run_id}",
        "task": task.task_id,
        # All instances of a mapped task have one name.
        "task_id": f"{task.task_id}[{index}]" if index is not None and index >= 0 else task.task_id,
        "attempt": task.try_number,
    }


def _prefect(context: ModuleType) -> Mapping[str, object] | None:
    flow, task = context.FlowRunContext.get(), context.TaskRunContext.get()
    flow_run = getattr(flow, "flow_run", None)
    task_run = getattr(task, "task_run", None)
    execution = getattr(flow_run, "id", None) or getattr(task_run, "flow_run_id", None)
    if execution is None and task_run is None:
        return None
    return {
        "engine": "prefect",
        "workflow": getattr(getattr(flow, "flow", None), "name", None),
        "execution": execution,
        "task": getattr(task_run, "name", None),
        "task_id": getattr(task_run, "id", None),
    }


def _dagster(dagster: ModuleType) -> Mapping[str, object] | None:
    try:
        context = dagster.OpExecutionContext.get()
    except dagster.DagsterInvariantViolationError:  # outside ops
        return None
    return {
        "engine": "dagster",
        "engine_version": dagster.__version__,
        "workflow": context.job_name,
        "execution": context.run_id,
        "task": context.op_handle.name,
        "task_id": str(context.op_handle),
        "attempt": context.retry_number,
    }


def _luigi(worker: ModuleType) -> Mapping[str, object] | None:
    # Luigi keeps the current task nowhere but in the process object that calls it.
    frame: FrameType | None = sys._getframe()
    for _ in range(_MOST_FRAMES):
        if frame is None:
            return None
        if frame.f_code.co_filename == worker.__file__ and "self" in frame.f_locals:
            task = getattr(frame.f_locals["self"], "task", None)
            if task is not None:
                return {"engine": "luigi", "task": task.task_family, "task_id": task.task_id}
        frame = frame.f_back
    return None


def _dask(distributed: ModuleType) -> Mapping[str, object] | None:
    try:
        worker = distributed.get_worker()
    except ValueError:  # not in a task
        return None
    key = worker.get_current_task()
    return {
        "engine": "dask",
        "engine_version": distributed.__version__,
        # Addresses of schedulers are used again, ids of workers are not.
        "task_id": f"{worker.id}/{key}",
        "task": key,
        "unique_task": "yes",
    }


def _ray(ray: ModuleType) -> Mapping[str, object] | None:
    if not ray.is_initialized():
        return None
    context = ray.get_runtime_context()
    task = context.get_task_id()
    if task is None:  # the driver
        return None
    name = getattr(context, "get_task_name", str)()
    # Ray counts jobs in each cluster from 1: their ids do not identify executions.
    return {"engine": "ray", "task": name, "task_id": task, "unique_task": "yes"}


_READERS: Mapping[str, Callable[[Any], Mapping[str, object] | None]] = {
    "__main__": _snakemake,
    "luigi.worker": _luigi,
    "distributed": _dask,
    "ray": _ray,
    "prefect.context": _prefect,
    "dagster": _dagster,
    "airflow.sdk": _airflow,
}
"""For each engine the module that knows the current task, the innermost engines first."""
