"""What a store holds of a run and its journals do not: read back as events."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

from yprov_mlflow.prov.capture import handlers
from yprov_mlflow.prov.capture.expected_state import ExpectedState
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
from yprov_mlflow.prov.ids import redact
from yprov_mlflow.prov.journal import JournalDirectory, JournalReader
from yprov_mlflow.prov.sources.sql.metric_points import integer

_LARGEST = 1.7976931348623157e308
"""What MLflow's SQL store keeps for infinity."""

_MOST_FILES = 10_000


class StoreBackfill:
    """Compares one run's tally with its store; ``thorough`` looks at every metric point.

    A run whose journals are whole agrees in the latest point of each metric, so one ``get_run``
    tells that there is nothing more to read.
    """

    def __init__(
        self,
        capture: CaptureSession,
        target: RunArtifacts,
        folder: JournalDirectory,
        *,
        thorough: bool,
    ) -> None:
        """Name the run as its store has it, and its journals; reads nothing yet."""
        self.capture = capture
        self.target = target
        self.store = target.store
        self.run = target.run
        self.folder = folder
        self.run_id = folder.run_id
        self.thorough = thorough
        self._seq = 0

    def __call__(self, tally: ExpectedState, whole: bool) -> Iterator[Event]:
        """Give the missing events; all have the session ``STORE_SESSION``."""
        if tally.joined:
            yield self._created()
        yield from self._info(tally)
        yield from self._params_and_tags(tally)
        yield from self._metrics(tally, thorough=self.thorough or tally.joined or not whole)
        yield from self._inputs_and_outputs(tally)
        if tally.joined or not whole:
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

    def _info(self, tally: ExpectedState) -> Iterator[Event]:
        info = self.run.info
        status = info.status if info.status != (tally.status or "RUNNING") else None
        end = info.end_time if info.end_time != tally.end_time_ms else None
        name = info.run_name if info.run_name != tally.run_name else None
        lifecycle = (
            info.lifecycle_stage if info.lifecycle_stage != (tally.lifecycle or "active") else None
        )
        if tally.joined:
            name = None
        if status or end or name or lifecycle:
            yield self._event(RunUpdated, status, end, name, lifecycle, time_ms=end or 0)

    def _params_and_tags(self, tally: ExpectedState) -> Iterator[Event]:
        data = self.run.data
        params = {k: v for k, v in data.params.items() if not _holds(tally.params.get(k), v)}
        if params:
            yield self._event(ParamsLogged, params)
        tags = {k: v for k, v in data.tags.items() if not _holds(tally.tags.get(k), v)}
        if tags:
            yield self._event(TagsSet, tags)

    def _metrics(self, tally: ExpectedState, *, thorough: bool) -> Iterator[Event]:
        doubtful = []
        for latest in self.run.data._metric_objs:
            known = tally.metrics.get(latest.key)
            if thorough or known is None or not _same(latest, known):
                doubtful.append(latest.key)
        if not doubtful:
            return
        points = Counter(
            (key, step or 0, timestamp, _spelt(value))
            for key, step, timestamp, value in journal_points(self.folder, frozenset(doubtful))
        )
        for key in sorted(doubtful):
            missing = []
            for metric in self.store.get_metric_history(self.run_id, key):
                step, timestamp, value = _point(metric)
                point = (key, step, timestamp, _spelt(value))
                if points[point] > 0:
                    points[point] -= 1
                else:
                    missing.append((value, timestamp, step))
            if missing:
                columns = map(list, zip(*missing, strict=True))
                yield self._event(MetricsLogged, [key] * len(missing), *columns)

    def _inputs_and_outputs(self, tally: ExpectedState) -> Iterator[Event]:
        inputs = getattr(self.run, "inputs", None)
        datasets = [
            handlers.dataset(d)
            for d in getattr(inputs, "dataset_inputs", None) or ()
            if (d.dataset.name, d.dataset.digest) not in tally.datasets
        ]
        models = [
            m.model_id
            for m in getattr(inputs, "model_inputs", None) or ()
            if m.model_id not in tally.models_in
        ]
        if datasets or models:
            yield self._event(InputsLogged, datasets, models)
        outputs = getattr(self.run, "outputs", None)
        found = [
            (m.model_id, m.step)
            for m in getattr(outputs, "model_outputs", None) or ()
            if m.model_id not in tally.models_out
        ]
        for model_id, _ in found:
            model = self.store.get_logged_model(model_id)
            yield self._event(ModelLogged, *handlers.model_fields(model))
        if found:
            yield self._event(OutputsLogged, found)

    def _artifacts(self) -> Iterator[Event]:
        journalled = self._journalled_files()
        files = [f for f in self.target.files(_MOST_FILES) if f["path"] not in journalled]
        if files:
            yield self._event(ArtifactsLogged, files)

    def _journalled_files(self) -> set[str]:
        return {
            str(file["path"])
            for path in self.folder.files()
            for event in JournalReader(path)
            if isinstance(event, ArtifactsLogged) and event.owner is None
            for file in event.files
        }


def _holds(logged: str | None, stored: str) -> bool:
    """Tell whether a call's value is the stored one; MLflow may cut long ones short."""
    return logged is not None and (logged == stored or (bool(stored) and logged.startswith(stored)))


def _same(metric: Any, latest: tuple[int, int, float]) -> bool:
    step, timestamp, value = _point(metric)
    return (step, timestamp, _spelt(value)) == (*latest[:2], _spelt(latest[2]))


def _point(metric: Any) -> tuple[int, int, float]:
    return integer(metric.step or 0), integer(metric.timestamp), float(metric.value)


def _spelt(value: float) -> str:
    """Give a metric's value so that it compares: NaN with NaN, the others as SQL keeps them.

    MLflow's SQL store has the largest number for infinity, and no negative zero.
    """
    if math.isinf(value):
        value = math.copysign(_LARGEST, value)
    return repr(float(value) + 0.0)
