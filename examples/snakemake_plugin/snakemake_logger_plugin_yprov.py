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


@dataclass
class Job:
    facts: dict[str, str]
    input: list[str]
    output: list[str]
    entry: TaskEntry | None = None


class LogHandler(LogHandlerBase):
    """Collects the events of jobs; other log records are ignored."""

    def __post_init__(self) -> None:
        process = ancestors(ROOT)[0]
        settings = self.settings or LogHandlerSettings()
        folder = settings.folder / f"snakemake-{process.pid}-{process.start}"
        self.path = folder.absolute() / "prov.json"
        self.jobs: dict[int, Job] = {}
        self.entries: list[TaskEntry] = []
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
        if event == "job_info":
            self._planned(record)
        elif event == "job_started":
            for job in getattr(record, "jobs", None) or getattr(record, "job_ids", None) or ():
                self._started(job)
        elif event == "job_finished":
            self._ended(record.job_id, "FINISHED")
        elif event == "job_error":
            self._ended(record.jobid, "FAILED")

    def _planned(self, record: LogRecord) -> None:
        wildcards = dict(record.wildcards or {})
        facts = {"task": record.rule_name, "task_id": job_id(record.rule_name, wildcards)}
        if getattr(record, "shellcmd", None):
            facts["command"] = command_digest(record.shellcmd)
        self.jobs[record.jobid] = Job(facts, list(record.input), list(record.output))

    def _started(self, number: int) -> None:
        job = self.jobs.get(number)
        if job is not None:
            job.entry = TaskEntry(job.facts, time.time_ns(), inputs=self._files(job.input))
            self.entries.append(job.entry)

    def _ended(self, number: int, status: str) -> None:
        job = self.jobs.get(number)
        if job is None:
            return
        if job.entry is None:
            self._started(number)
        assert job.entry is not None
        job.entry.end_ns, job.entry.status = time.time_ns(), status
        job.entry.outputs = self._files(job.output) if status == "FINISHED" else ()
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
