"""Reading back from a run's store, as events, what the run's journals lack."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

from yprov_mlflow.prov import serialize
from yprov_mlflow.prov.capture import mlflow_private
from yprov_mlflow.prov.capture.expected_state import ExpectedState, Latest
from yprov_mlflow.prov.capture.run_artifacts import RunArtifacts
from yprov_mlflow.prov.capture.run_document import journal_points
from yprov_mlflow.prov.capture.session import CaptureSession
from yprov_mlflow.prov.events import (
    STORE_SESSION,
    ArtifactsLogged,
    Event,
    InputsLogged,
    MetricsLogged,
    ModelLogged,
    OutputsLogged,
    ParamsLogged,
    RunCreated,
    RunUpdated,
    TagsSet,
)
from yprov_mlflow.prov.journal import JournalDirectory, JournalReader
from yprov_mlflow.prov.redaction import redact
from yprov_mlflow.prov.sources.state_events import integer

_MAX_FILES = 10_000


class StoreBackfill:
    """Compares the expected state of one run with its store, and returns the difference.

    If the journals are complete, the latest point of each metric agrees, so that one ``get_run``
    shows that there is nothing more to read.
    """

    def __init__(
        self,
        capture: CaptureSession,
        artifacts: RunArtifacts,
        folder: JournalDirectory,
        *,
        thorough: bool,
    ) -> None:
        """Prepare to compare; nothing is read yet.

        Args:
            capture: The session of this process.
            artifacts: The run in its store.
            folder: Its journals.
            thorough: Compare every metric point, not only the latest of each metric.
        """
        self.capture = capture
        self.artifacts = artifacts
        self.store = artifacts.store
        self.run = artifacts.run
        self.folder = folder
        self.run_id = folder.run_id
        self.thorough = thorough
        self._seq = 0

    def __call__(self, state: ExpectedState, complete: bool) -> Iterator[Event]:
        """Yield the missing events; all have the session ``STORE_SESSION``."""
        if state.joined:
            yield self._created()
        yield from self._info(state)
        yield from self._params_and_tags(state)
        yield from self._metrics(state, thorough=self.thorough or state.joined or not complete)
        yield from self._inputs_and_outputs(state)
        if state.joined or not complete:
            yield from self._artifacts()

    def _event(self, cls: type[Event], *fields: Any, time_ms: int = 0) -> Event:
        self._seq += 1
        return cls(self.run_id, STORE_SESSION, self._seq - 1, time_ms * 1_000_000, *fields)

    def _created(self) -> Event:
        info = self.run.info
        return self._event(
            RunCreated,
            str(info.experiment_id),
            self.capture.experiment_name(self.store, info.experiment_id),
            info.run_name,
            info.user_id,
            info.start_time,
            info.artifact_uri and redact(info.artifact_uri),
            {},
            self.capture.store_reference(self.store),
            time_ms=info.start_time or 0,
        )

    def _info(self, state: ExpectedState) -> Iterator[Event]:
        info = self.run.info
        status = info.status if info.status != (state.status or "RUNNING") else None
        end = info.end_time if info.end_time != state.end_time_ms else None
        name = info.run_name if info.run_name != state.run_name else None
        stage = info.lifecycle_stage
        lifecycle = stage if stage != (state.lifecycle or "active") else None
        if state.joined:
            name = None  # the event of the run's creation has it
        if status or end or name or lifecycle:
            yield self._event(RunUpdated, status, end, name, lifecycle, time_ms=end or 0)

    def _params_and_tags(self, state: ExpectedState) -> Iterator[Event]:
        data = self.run.data
        params = {k: v for k, v in data.params.items() if not _is_stored(state.params.get(k), v)}
        if params:
            yield self._event(ParamsLogged, params)
        tags = {k: v for k, v in data.tags.items() if not _is_stored(state.tags.get(k), v)}
        if tags:
            yield self._event(TagsSet, tags)

    def _metrics(self, state: ExpectedState, *, thorough: bool) -> Iterator[Event]:
        doubtful = []
        for metric in mlflow_private.latest_metrics(self.run):
            latest = state.metrics.get(metric.key)
            if thorough or latest is None or _stored(latest) != _stored(_point(metric)):
                doubtful.append(metric.key)
        if not doubtful:
            return
        # Points may be equal: each one in the journals accounts for one in the store.
        journaled = Counter(
            (key, *_stored((step or 0, timestamp, value)))
            for key, step, timestamp, value in journal_points(self.folder, frozenset(doubtful))
        )
        for key in sorted(doubtful):
            missing = []
            for metric in self.store.get_metric_history(self.run_id, key):
                step, timestamp, value = _point(metric)
                point = (key, *_stored((step, timestamp, value)))
                if journaled[point] > 0:
                    journaled[point] -= 1
                else:
                    missing.append((value, timestamp, step))
            if missing:
                columns = map(list, zip(*missing, strict=True))
                yield self._event(MetricsLogged, [key] * len(missing), *columns)

    def _inputs_and_outputs(self, state: ExpectedState) -> Iterator[Event]:
        # Runs of MLflow 2 lack outputs, and models among their inputs.
        inputs = getattr(self.run, "inputs", None)
        datasets = [
            serialize.dataset(d)
            for d in getattr(inputs, "dataset_inputs", None) or ()
            if (d.dataset.name, d.dataset.digest) not in state.datasets
        ]
        models = [
            m.model_id
            for m in getattr(inputs, "model_inputs", None) or ()
            if m.model_id not in state.models_in
        ]
        if datasets or models:
            yield self._event(InputsLogged, datasets, models)
        outputs = [
            (m.model_id, m.step)
            for m in getattr(getattr(self.run, "outputs", None), "model_outputs", None) or ()
            if m.model_id not in state.models_out
        ]
        for model_id, _ in outputs:
            model = self.store.get_logged_model(model_id)
            yield self._event(ModelLogged, *serialize.logged_model_fields(model))
        if outputs:
            yield self._event(OutputsLogged, outputs)

    def _artifacts(self) -> Iterator[Event]:
        journaled = {
            str(file["path"])
            for path in self.folder.files()
            for event in JournalReader(path)
            if isinstance(event, ArtifactsLogged) and event.owner is None
            for file in event.files
        }
        files = [f for f in self.artifacts.files(_MAX_FILES) if f["path"] not in journaled]
        if files:
            yield self._event(ArtifactsLogged, files)


def _is_stored(logged: str | None, stored: str) -> bool:
    """Return whether the store has a logged value; MLflow may have truncated it."""
    return logged is not None and (logged == stored or (bool(stored) and logged.startswith(stored)))


def _point(metric: Any) -> Latest:
    return integer(metric.step or 0), integer(metric.timestamp), float(metric.value)


def _stored(point: Latest) -> tuple[int, int, str]:
    """Return a point so that it compares equal to itself read back from a store.

    As text, NaN equals NaN. MLflow's SQL store has the largest number for infinity, and no
    negative zero.
    """
    step, timestamp, value = point
    if math.isinf(value):
        value = math.copysign(sys.float_info.max, value)
    return step, timestamp, repr(float(value) + 0.0)
