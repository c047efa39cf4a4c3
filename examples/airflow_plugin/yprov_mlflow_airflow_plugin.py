"""A plugin of Airflow that writes the provenance of tasks."""

from __future__ import annotations

import hashlib
import os
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

from yprov_mlflow.prov.collectors.workflow_engines import CONTRACT
from yprov_mlflow.prov.formats import prov_json
from yprov_mlflow.prov.ids import quote_key
from yprov_mlflow.prov.translate.workflow_document import (
    TaskEntry,
    TaskFile,
    workflow_document,
)

FOLDER = "YPROV_WORKFLOW_FOLDER"


def _folder(task: Any) -> Path:
    home = os.environ.get("AIRFLOW_HOME") or os.path.expanduser("~/airflow")
    root = Path(os.environ.get(FOLDER) or Path(home, "provenance"))
    name = f"{_task_id(task)}-{task.try_number}"
    return root / quote_key(task.dag_id) / quote_key(task.run_id) / quote_key(name)


def _task_id(task: Any) -> str:
    index = getattr(task, "map_index", -1)
    return f"{task.task_id}[{index}]" if index is not None and index >= 0 else task.task_id


def _execution(task: Any) -> dict[str, str]:
    return {
        "engine": "airflow",
        "engine_version": version("apache-airflow"),
        "execution": f"{task.dag_id}/{task.run_id}",
        "workflow": task.dag_id,
    }


def _files(assets: Any) -> list[TaskFile]:
    files = []
    for asset in assets or ():
        uri = urlsplit(str(getattr(asset, "uri", "")))
        if uri.scheme == "file":
            path = unquote(uri.path)
            try:
                with open(path, "rb") as file:
                    sha256 = hashlib.file_digest(file, "sha256").hexdigest()
                files.append(TaskFile(path, sha256, os.path.getsize(path)))
            except OSError:  # an asset that is not a file here
                continue
    return files


class Listener:
    """Remembers the task of this process, and writes its document when it ends."""

    def __init__(self) -> None:
        self.entry: TaskEntry | None = None

    @hookimpl
    def on_task_instance_running(self, previous_state: Any, task_instance: Any) -> None:
        facts = {
            "task": task_instance.task_id,
            "task_id": _task_id(task_instance),
            "attempt": str(task_instance.try_number),
        }
        operator = getattr(task_instance, "task", None)
        inputs = _files(getattr(operator, "inlets", ()))
        self.entry = TaskEntry(facts, time.time_ns(), inputs=inputs)
        execution = _execution(task_instance)
        variables = {
            "ENGINE": execution["engine"],
            "ENGINE_VERSION": execution["engine_version"],
            "NAME": execution["workflow"],
            "RUN_ID": execution["execution"],
            "TASK": facts["task"],
            "TASK_ID": facts["task_id"],
            "ATTEMPT": facts["attempt"],
            "DOCUMENT": str(_folder(task_instance) / "prov.json"),
        }
        os.environ.update({f"{CONTRACT}{key}": value for key, value in variables.items()})

    @hookimpl
    def on_task_instance_success(self, previous_state: Any, task_instance: Any) -> None:
        operator = getattr(task_instance, "task", None)
        self._write(task_instance, "FINISHED", _files(getattr(operator, "outlets", ())))

    @hookimpl
    def on_task_instance_failed(self, previous_state: Any, task_instance: Any) -> None:
        self._write(task_instance, "FAILED", [])

    def _write(self, task: Any, status: str, outputs: list[TaskFile]) -> None:
        if self.entry is None:  # the task was stopped before it ran
            return
        self.entry.end_ns, self.entry.status = time.time_ns(), status
        self.entry.outputs = outputs
        folder = _folder(task)
        folder.mkdir(parents=True, exist_ok=True)
        document = workflow_document(_execution(task), [self.entry])
        (folder / "prov.json").write_bytes(prov_json.dumps(document))
        for variable in [name for name in os.environ if name.startswith(CONTRACT)]:
            if variable != FOLDER:
                del os.environ[variable]


class YprovPlugin(AirflowPlugin):
    name = "yprov"
    listeners: ClassVar[list[Any]] = [Listener()]
