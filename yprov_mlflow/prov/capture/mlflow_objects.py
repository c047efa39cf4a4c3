"""Content of events as objects of MLflow, to write it to a store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric

from yprov_mlflow.prov.events import MetricsLogged

_REQUIRED = ("name", "digest", "source_type", "source")


def metrics_of(event: MetricsLogged) -> list[Metric]:
    """Return the points of an event."""
    metrics = []
    for index, key in enumerate(event.keys):
        links: dict[str, Any] = {}
        if event.models is not None and (model := event.models[index]):
            links["model_id"] = model
        if event.datasets is not None and (dataset := event.datasets[index]):
            links["dataset_name"], links["dataset_digest"] = dataset
        columns = (event.values[index], event.timestamps_ms[index], event.steps[index])
        metrics.append(Metric(key, *columns, **links))
    return metrics


def dataset_input(data: Mapping[str, Any]) -> DatasetInput:
    """Return a dataset of ``InputsLogged`` with its tags."""
    required = {field: data.get(field) or "" for field in _REQUIRED}
    dataset = Dataset(**required, schema=data.get("schema"), profile=data.get("profile"))
    tags = [InputTag(key, str(value)) for key, value in (data.get("tags") or {}).items()]
    return DatasetInput(dataset, tags)
