"""The contents of a tracking server that belong to no run, as events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from yprov_mlflow.prov import serialize
from yprov_mlflow.prov.events import Event, Json
from yprov_mlflow.prov.sources.rest.server_client import NotOffered, Refused
from yprov_mlflow.prov.sources.rest.server_reading import Reading
from yprov_mlflow.prov.sources.state_events import SOURCE_RUN
from yprov_mlflow.prov.state import EvaluationDataset

# Servers leave out prompts unless a filter asks for them.
_FILTERS = ("", "tags.`mlflow.prompt.is_prompt` = 'true'")
_PAGE = 100
_DATASET = (
    "name schema profile digest created_time last_update_time created_by last_updated_by".split()
)


def experiments(reading: Reading) -> Iterator[Event]:
    """Yield all experiments, deleted ones last."""
    for experiment in reading.index.experiments():
        yield from reading.events.experiment(serialize.experiment(experiment))


def registered_models(reading: Reading) -> Iterator[Event]:
    """Yield all registered models and prompts, each with its versions and then its aliases."""
    search = reading.server.client.search_registered_models
    entities: dict[str, tuple[Any, str]] = {}
    for condition in _FILTERS:
        pages = reading.server.pages(search, condition or None, max_results=_PAGE)
        entities.update({model.name: (model, condition) for model in pages})
    for name, (entity, condition) in sorted(entities.items(), key=lambda item: item[0]):
        model = serialize.registered_model(entity)
        yield reading.events.registered_model(model)
        for version in sorted(_versions(reading, name, condition), key=lambda v: int(v.version)):
            yield from reading.events.model_version(name, serialize.model_version(version))
        yield from reading.events.aliases(model)


def _versions(reading: Reading, name: str, condition: str) -> Iterator[Any]:
    # MLflow's filters accept either kind of quote.
    quote = '"' if "'" in name else "'"
    filters = " AND ".join(filter(None, (f"name = {quote}{name}{quote}", condition)))
    search = reading.server.client.search_model_versions
    yield from reading.server.pages(search, filters, max_results=_PAGE)


def models_without_run(reading: Reading) -> Iterator[Event]:
    """Yield the logged models that no run of this server created."""
    for model_id in _orphans(reading):
        yield from reading.logged_model(model_id)


def artifacts_without_run(reading: Reading) -> Iterator[Event]:
    """Yield the files of the logged models that no run of this server created."""
    for model_id in _orphans(reading):
        yield from reading.model_artifacts(model_id)


def _orphans(reading: Reading) -> list[str]:
    index = reading.index
    missing = (run_id for run_id in index.sources() if not _run_exists(reading, run_id))
    return sorted(model_id for run_id in (None, *missing) for model_id in index.models(run_id))


def _run_exists(reading: Reading, run_id: str) -> bool:
    try:
        return bool(reading.server.ask(reading.server.store.get_run, run_id))
    except Refused:
        return False


def traces_without_run(reading: Reading) -> Iterator[Event]:
    """Yield the traces that no run of this server created."""
    exists: dict[str | None, bool] = {None: False}
    for experiment in reading.index.experiments():
        try:
            for trace, assessments in reading.search_traces(str(experiment.experiment_id), None):
                run_id = trace.metadata.get(SOURCE_RUN) or None
                if run_id not in exists:
                    exists[run_id] = _run_exists(reading, str(run_id))
                if not exists[run_id]:
                    yield from reading.trace(trace, assessments)
        except NotOffered:
            return


def evaluation_datasets(reading: Reading) -> Iterator[Event]:
    """Yield evaluation datasets with their tags, experiments and records."""
    server, store = reading.server, reading.server.store
    entities: list[Any] = []
    with suppress(NotOffered):
        entities = list(server.pages(getattr(store, "search_datasets", None), max_results=50))
    for entity in sorted(entities, key=lambda e: str(e.dataset_id)):
        experiment_ids = server.ask(store.get_dataset_experiment_ids, entity.dataset_id)
        dataset = EvaluationDataset(
            str(entity.dataset_id),
            _present(serialize.fields(entity, *_DATASET)),
            dict(sorted(dict(entity.tags or {}).items())),
            sorted(map(str, experiment_ids)),
        )
        yield reading.events.evaluation_dataset(dataset)
        pages = server.pages(store._load_dataset_records, entity.dataset_id, max_results=1000)
        records = [_present(record.to_dict()) for record in pages]
        records.sort(key=lambda r: (r.get("created_time") or 0, str(r.get("dataset_record_id"))))
        dataset.records = {str(record["dataset_record_id"]): record for record in records}
        yield from reading.events.dataset_records(dataset)


def _present(values: Mapping[str, Any]) -> dict[str, Json]:
    return {name: serialize.plain(item) for name, item in values.items() if item is not None}


def scorers(reading: Reading) -> Iterator[Event]:
    """Yield each version of each scorer; servers omit those of deleted experiments."""
    server, store = reading.server, reading.server.store
    if not hasattr(store, "list_scorer_versions"):
        return
    for experiment in reading.index.experiments():
        experiment_id = str(experiment.experiment_id)
        if experiment.lifecycle_stage == "deleted":
            continue
        try:
            latest = server.ask(store.list_scorers, experiment_id)
        except NotOffered:
            return
        for name in sorted(str(scorer.scorer_name) for scorer in latest):
            versions = server.ask(store.list_scorer_versions, experiment_id, name)
            for version in sorted(versions, key=lambda v: int(v.scorer_version)):
                values = serialize.fields(version, "scorer_id", "scorer_version", "creation_time")
                values["serialized_scorer"] = getattr(version, "_serialized_scorer", None)
                key = {"experiment_id": experiment_id, "name": name}
                yield reading.events.scorer({**key, **_present(values)})
