"""One run for all ranks of a job: the n-th run that a rank creates is the n-th of every other rank.

The first rank makes the run, the others join it. Each is a session of its own. The run ends with
the last of all ranks, or soon after the last of those that have joined it, with the worst of their
statuses. So its document is written once, by that rank, and the others return at once.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from mlflow.entities import RunStatus, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from yprov_mlflow.prov.capture.rendezvous import Member, Members, Record, meet
from yprov_mlflow.prov.collectors.ranks import Job
from yprov_mlflow.prov.events import TERMINAL, RunUpdated, TagsSet
from yprov_mlflow.prov.journal import JournalDirectory
from yprov_mlflow.prov.layout import RANKS, RENDEZVOUS, private_folder

if TYPE_CHECKING:
    from yprov_mlflow.prov.capture.session import CaptureSession

QUIET_S = 2.0  # how long a run stays open after those who joined, for ranks that come later
VISIBLE_S = 5.0  # how long a rank waits until its store shows a run that another has made
TIMEOUT_S = 60.0  # how long a rank waits for the one that makes the run
SYSTEM_METRICS_TIMEOUT_S = 5.0  # how long the end of a rank waits for its last system metrics
_POLL_S = 0.1
_OF_MLFLOW = "mlflow."  # start of tags that MLflow sets itself


class Outcome(NamedTuple):
    """The result of a call, and its arguments if it is to be recorded as a call of the store."""

    result: Any
    arguments: tuple[Any, ...] | None


class OneRun:
    """The runs that this rank has in common with the others.

    Args:
        capture: The session of the process.
        job: Its job.
    """

    METHODS = frozenset({"create_run", "update_run_info"})

    def __init__(self, capture: CaptureSession, job: Job) -> None:
        self._capture = capture
        self._job = job
        self._counts: Counter[tuple[str, str]] = Counter()
        self._joined: dict[str, Member] = {}
        # A rank that leaves does not ask the store: a file store would read all points.
        self._infos: dict[str, Any] = {}
        self._ends: dict[str, threading.Timer] = {}  # of runs that were left, by run

    def call(
        self,
        name: str,
        original: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> Outcome:
        """Call a method of a store, one of ``METHODS``, for this rank.

        Args:
            name: Name of the method.
            original: The method, of its store.
            args: Positional arguments.
            kwargs: Other arguments.
        """
        bound = inspect.signature(original).bind(*args, **kwargs)
        bound.apply_defaults()
        own = self._create_run if name == "create_run" else self._update_run_info
        return own(original, bound)

    # -- the start of a run --------------------------------------------------------------

    def _create_run(self, original: Callable[..., Any], bound: inspect.BoundArguments) -> Outcome:
        store, record, run = original.__self__, None, None  # type: ignore[attr-defined] # - bound
        with self._capture.recorder.warn_only():
            record = self._meet(bound.arguments)
            if record.run_id:
                run = self._join(store, record.run_id, bound.arguments)
        if run is not None:
            return Outcome(run, None)
        run_id = None
        try:
            run = original(*bound.args, **bound.kwargs)
            run_id = run.info.run_id
        finally:
            if record is not None and not record.run_id:
                with self._capture.recorder.warn_only():
                    record.publish(run_id)
        with self._capture.recorder.warn_only():
            if record is not None and not record.run_id:
                self._add_member(run.info)
        return Outcome(run, (*bound.args, *bound.kwargs.values()))

    def _meet(self, arguments: Mapping[str, Any]) -> Record:
        experiment_id = str(arguments["experiment_id"])
        tags = {tag.key: tag.value for tag in arguments.get("tags") or ()}
        parent = tags.get(MLFLOW_PARENT_RUN_ID, "")
        number = self._counts[experiment_id, parent]
        self._counts[experiment_id, parent] += 1
        key = json.dumps([self._job.key, experiment_id, parent, number])
        recorder = self._capture.recorder
        folder = recorder.directory / RENDEZVOUS
        private_folder(folder, recorder.settings.directory)
        name = hashlib.sha256(key.encode()).hexdigest()[:32]
        return meet(folder, name, self._is_mine, recorder.host, TIMEOUT_S)

    def _is_mine(self, run_id: str) -> bool:
        """Return whether a run is the one of this rank's job, and not of one with the same key."""
        mine = [member for member in self._members(run_id) if member.rank == self._job.rank]
        if not mine:
            return True
        earlier = max(mine, key=lambda member: member.restarts)
        is_same_agent = self._job.has_agents and earlier.state not in TERMINAL
        is_same_agent = is_same_agent and earlier.parent == os.getppid()
        is_same_agent = is_same_agent and earlier.host == self._capture.recorder.host
        return is_same_agent or earlier.restarts < self._job.restarts

    def _join(self, store: Any, run_id: str, arguments: Mapping[str, Any]) -> Any:
        """Join a run that another rank has made, and return it."""
        recorder = self._capture.recorder
        run = _run_of(store, run_id)
        self._capture.remember_root(run.info.artifact_uri, "run", run_id)
        self._add_member(run.info)
        recorder.join(run_id, store)
        own = [tag for tag in arguments.get("tags") or () if not tag.key.startswith(_OF_MLFLOW)]
        tags = [RunTag(tag.key, tag.value) for tag in own if tag.key not in run.data.tags]
        if tags:
            store.log_batch(run_id, [], [], tags)
            added = {tag.key: tag.value for tag in tags}
            recorder.record(run_id, TagsSet, added, store=store)
        if (
            run.info.status in TERMINAL
        ):  # all who had joined have ended, or the job is a new attempt
            store.update_run_info(run_id, RunStatus.RUNNING, None, None)
            recorder.record(run_id, RunUpdated, "RUNNING", None, None, None, store=store)
            run = store.get_run(run_id)
        return run

    def _add_member(self, info: Any) -> None:
        job, host = self._job, self._capture.recorder.host
        member = Member(job.rank, job.restarts, os.getpid(), os.getppid(), host)
        self._members(info.run_id).join(member)
        self._joined[info.run_id], self._infos[info.run_id] = member, info

    def _members(self, run_id: str) -> Members:
        return Members(JournalDirectory(self._capture.recorder.directory, run_id).path / RANKS)

    # -- the end of a run ----------------------------------------------------------------

    def _update_run_info(
        self, original: Callable[..., Any], bound: inspect.BoundArguments
    ) -> Outcome:
        run_id, status = str(bound.arguments["run_id"]), bound.arguments["run_status"]
        if status is not None and not isinstance(status, str):
            status = RunStatus.to_string(status)
        if status in TERMINAL and run_id in self._joined:
            last: str | None = status
            with self._capture.recorder.warn_only():
                last = self._leave(run_id, status)
            store = original.__self__  # type: ignore[attr-defined] # - a bound method
            if last is None or self._end_later(store, run_id, bound.arguments["end_time"]):
                return Outcome(self._infos[run_id], None)
            bound.arguments["run_status"] = RunStatus.from_string(last)
        result = original(*bound.args, **bound.kwargs)
        return Outcome(result, (*bound.args, *bound.kwargs.values()))

    def _leave(self, run_id: str, status: str) -> str | None:
        """End this rank's part of a run; return the status of the run if it was the last."""
        recorder = self._capture.recorder
        recorder.finish(run_id)
        self._capture.publisher.finish(run_id, SYSTEM_METRICS_TIMEOUT_S)
        recorder.leave_run(run_id)
        return self._members(run_id).leave(self._joined.pop(run_id), status)

    def _end_later(self, store: Any, run_id: str, end_time: int | None) -> bool:
        """Return whether a run stays open for a moment, as some ranks have not joined it."""
        if len({member.rank for member in self._members(run_id)}) >= self._job.size:
            return False
        timer = threading.Timer(QUIET_S, self._end, (store, run_id, end_time))
        timer.daemon = True
        try:
            timer.start()
        except RuntimeError:  # the process exits, from Python 3.12 on
            return False
        self._ends[run_id] = timer
        return True

    def _end(self, store: Any, run_id: str, end_time: int | None) -> None:
        """End a run that this rank was the last to leave, unless others have joined it since."""
        with self._capture.recorder.warn_only():
            status = self._members(run_id).status(self._capture.recorder.host)
            if status is not None and store.get_run(run_id).info.status not in TERMINAL:
                store.update_run_info(run_id, RunStatus.from_string(status), end_time, None)
            self._ends.pop(run_id, None)

    def finish(self) -> None:
        """Wait for the ends of runs that this process was the last to leave."""
        for timer in list(self._ends.values()):
            timer.join(2 * QUIET_S)


def _run_of(store: Any, run_id: str) -> Any:
    """Return a run that another process has just made, which some stores show a little later."""
    end_s = time.monotonic() + VISIBLE_S
    while True:
        try:
            return store.get_run(run_id)
        except MlflowException:
            if time.monotonic() > end_s:
                raise
        time.sleep(_POLL_S)
