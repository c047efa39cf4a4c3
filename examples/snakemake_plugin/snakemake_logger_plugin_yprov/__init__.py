"""A logger plugin of Snakemake that writes the provenance of its jobs."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from logging import LogRecord
from pathlib import Path

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.settings import LogHandlerSettingsBase

from yprov_mlflow.prov.collectors.workflow_engines import CONTRACT
from yprov_mlflow.prov.collectors.workflow_processes import ancestors, command_digest, process_id
from yprov_mlflow.prov.formats import prov_json
from yprov_mlflow.prov.ids import job_id
from yprov_mlflow.prov.translate.workflow_document import (
    TaskEntry,
    TaskFile,
    workflow_document,
)

ROOT = Path("/")
WRITE_EVERY_S = 10.0


@dataclass
class LogHandlerSettings(LogHandlerSettingsBase):
    folder: Path = field(
        default=Path("provenance"),
        metadata={"help": "Folder for the documents of executions", "type": Path},
    )


class LogHandler(LogHandlerBase):
    """Collects the events of jobs; other log records are ignored."""

    def __post_init__(self) -> None:
        process = ancestors(ROOT)[0]
        settings = self.settings or LogHandlerSettings()
        folder = settings.folder / f"snakemake-{process.pid}-{process.start}"
        self.path = folder.absolute() / "prov.json"
        self.entries: list[TaskEntry] = []
        self.running: dict[int, tuple[TaskEntry, list[str]]] = {}
        self.attempts: dict[int, int] = {}
        self.written_s = 0.0
        self.digests: dict[tuple[str, int, int], str] = {}
        self.execution = {
            "engine": "snakemake",
            "engine_version": version("snakemake"),
            "execution": process_id(ROOT, process),
            "workflow": Path.cwd().name,
        }
        # For the processes of all jobs, which are children of this one.
        os.environ[f"{CONTRACT}ENGINE"] = self.execution["engine"]
        os.environ[f"{CONTRACT}ENGINE_VERSION"] = self.execution["engine_version"]
        os.environ[f"{CONTRACT}RUN_ID"] = self.execution["execution"]
        os.environ[f"{CONTRACT}NAME"] = self.execution["workflow"]
        os.environ[f"{CONTRACT}DOCUMENT"] = str(self.path)

    def emit(self, record: LogRecord) -> None:
        event = str(getattr(record, "event", None) or "")
        if self.common_settings.dryrun:
            return
        if event == "job_info":  # logged just before the job is executed
            self._started(record)
        elif event == "job_finished":
            self._ended(record.job_id, "FINISHED")
        elif event == "job_error":
            self._ended(record.jobid, "FAILED")

    def _started(self, record: LogRecord) -> None:
        job = job_id(record.rule_name, dict(record.wildcards or {}))
        facts = {"task": record.rule_name, "task_id": job}
        if getattr(record, "shellcmd", None):
            facts["command"] = command_digest(record.shellcmd)
        attempts = self.attempts[record.jobid] = self.attempts.get(record.jobid, 0) + 1
        if attempts > 1:
            facts["attempt"] = str(attempts)
        entry = TaskEntry(facts, time.time_ns(), inputs=self._files(list(record.input)))
        self.entries.append(entry)
        self.running[record.jobid] = entry, list(record.output)

    def _ended(self, job: int, status: str) -> None:
        if job not in self.running:
            return
        entry, output = self.running.pop(job)
        entry.end_ns, entry.status = time.time_ns(), status
        entry.outputs = self._files(output) if status == "FINISHED" else ()
        if time.monotonic() - self.written_s > WRITE_EVERY_S:
            self._write()

    def _files(self, paths: list[str]) -> list[TaskFile]:
        files = []
        for path in paths:
            try:
                stat = os.stat(path)
                key = (path, stat.st_size, stat.st_mtime_ns)
                if os.path.isfile(path):
                    if key not in self.digests:
                        with open(path, "rb") as file:
                            self.digests[key] = hashlib.file_digest(file, "sha256").hexdigest()
                    files.append(TaskFile(path, self.digests[key], stat.st_size))
            except OSError:  # removed meanwhile, or in a storage that is not here
                continue
        return files

    def _write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        scratch = self.path.with_suffix(".part")
        scratch.write_bytes(prov_json.dumps(workflow_document(self.execution, self.entries)))
        scratch.replace(self.path)
        self.written_s = time.monotonic()

    def close(self) -> None:
        if self.entries:
            self._write()
        super().close()

    @property
    def writes_to_stream(self) -> bool:
        return False

    @property
    def writes_to_file(self) -> bool:
        return False

    @property
    def has_filter(self) -> bool:
        return True

    @property
    def has_formatter(self) -> bool:
        return True

    @property
    def needs_rulegraph(self) -> bool:
        return False
