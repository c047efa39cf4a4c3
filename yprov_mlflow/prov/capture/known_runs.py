"""Checks of logging calls that are written later: whether the store is certain to accept them.

A call that is not certain is made at once, so that MLflow itself accepts it, or raises its own
error. So these checks may be narrower than MLflow's, and never wider.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import Any

from mlflow.entities import LifecycleStage, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.utils import validation

from yprov_mlflow.prov.capture import mlflow_private
from yprov_mlflow.prov.events import INT64_MAX

_MAX_NAMES = 100_000  # of a run that are remembered; others are checked again
_NUMBERS = (float, int)


class KnownRun:
    """The part of a run's state in its store that decides which calls it accepts.

    Args:
        run: The run, as MLflow returns it; None if the store did not answer.
        on_files: Whether each name is a path in a folder, so that ``a`` excludes ``a/b``.
        models: Ids of logged models that the store is known to have.
    """

    def __init__(
        self, run: Any, *, on_files: bool = False, models: Container[str] = frozenset()
    ) -> None:
        self.run = run
        self.info = run.info if run is not None else None
        self.active = run is None or run.info.lifecycle_stage == LifecycleStage.ACTIVE
        data = run.data if run is not None else None
        self.params: dict[str, str] = dict(data.params) if data is not None else {}
        self.tags: set[str] = set(data.tags) if data is not None else set()
        self._models = models
        # Names that were checked before; those that the store has are valid.
        self._metrics = _Names(data.metrics if data is not None else (), on_files)
        self._param_names = _Names(self.params, on_files)
        self._tag_names = _Names(self.tags, on_files)

    def is_usual(self, metric: Any) -> bool:
        """Return whether a point is certain to be accepted, by the fastest check."""
        return (
            metric.key in self._metrics.keys
            and self.active
            and type(metric.value) in _NUMBERS
            and type(metric.timestamp) is int
            and 0 <= metric.timestamp <= INT64_MAX
            and type(metric.step) is int
            and -INT64_MAX <= metric.step <= INT64_MAX
            and not getattr(metric, mlflow_private.MODEL_ID, None)
        )

    def accepts_metric(self, metric: Any) -> bool:
        """Return whether the store is certain to accept a point.

        Raises:
            MlflowException: It is certain to refuse it.
        """
        if self.is_usual(metric):
            return True
        if not (self.active and isinstance(metric, Metric)):
            return False
        mlflow_private.validate_metric(metric)
        model = getattr(metric, mlflow_private.MODEL_ID, None)
        return (
            isinstance(metric.step, int)
            and -INT64_MAX <= metric.step <= INT64_MAX
            and isinstance(metric.timestamp, int)
            and metric.timestamp <= INT64_MAX
            and (not model or model in self._models)
            and self._metrics.fits(metric.key)
        )

    def accepts_param(self, param: Any) -> bool:
        """Return whether the store is certain to accept a param.

        Raises:
            MlflowException: It is certain to refuse it.
        """
        if not self.active or not isinstance(param, Param):
            return False
        mlflow_private.validate_param(param)
        if len(str(param.value)) > validation.MAX_PARAM_VAL_LENGTH:
            return False
        earlier = self.params.get(param.key)
        if earlier is not None and earlier != str(param.value):
            raise MlflowException(
                f"Changing param values is not allowed. Param with key='{param.key}' was already "
                f"logged with value='{earlier}'. Attempted logging new value '{param.value}'.",
                INVALID_PARAMETER_VALUE,
            )
        return self._param_names.fits(param.key)

    def accepts_tag(self, tag: Any) -> bool:
        """Return whether the store is certain to accept a tag as it is."""
        if not self.active or not isinstance(tag, RunTag) or not isinstance(tag.key, str):
            return False
        if not isinstance(tag.value, str) or len(tag.value) > validation.MAX_TAG_VAL_LENGTH:
            return False
        mlflow_private.validate_tag(tag)
        return self._tag_names.fits(tag.key)

    def accepts_batch(self, metrics: Any, params: Any, tags: Any) -> bool:
        """Return whether the store is certain to accept a batch."""
        if not all(isinstance(items, list) for items in (metrics, params, tags)):
            return False
        mlflow_private.validate_batch_limits(metrics, params, tags)
        return (
            all(map(self.accepts_metric, metrics))
            and all(map(self.accepts_param, params))
            and all(map(self.accepts_tag, tags))
        )

    def add(self, params: Iterable[Any] = (), tags: Iterable[Any] = ()) -> None:
        """Note params and tags that the store will have."""
        for param in params:
            self.params[param.key] = str(param.value)
        self.tags.update(tag.key for tag in tags)


class _Names:
    """Names of one kind that are known to be valid."""

    def __init__(self, names: Iterable[str], on_files: bool) -> None:
        self.keys: set[str] = set()
        self._folders: set[str] | None = set() if on_files else None
        for name in names:
            self.fits(name)

    def fits(self, name: str) -> bool:
        """Return whether a valid name fits to those before it, and remember it."""
        if len(self.keys) >= _MAX_NAMES:
            self.keys.clear()
        if self._folders is not None and "/" in name:
            parts = name.split("/")
            folders = {"/".join(parts[:count]) for count in range(1, len(parts))}
            if folders & self.keys:
                return False
            self._folders |= folders
        if self._folders is not None and name in self._folders:
            return False
        self.keys.add(name)
        return True


def are_valid_datasets(datasets: Sequence[Any] | None) -> bool:
    """Return whether MLflow accepts datasets as inputs.

    Raises:
        MlflowException: It refuses them.
    """
    if datasets is None:
        return True
    if not isinstance(datasets, list):
        return False
    mlflow_private.validate_datasets(datasets)
    return True
