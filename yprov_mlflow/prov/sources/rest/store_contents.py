"""What belongs to no run of a tracking server, as events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from yprov_mlflow.prov.events import Event, Json
from yprov_mlflow.prov.sources.rest import plain_records
from yprov_mlflow.prov.sources.rest.common_reads import Reading
from yprov_mlflow.prov.sources.rest.server_client import NotOffered, Refused
from yprov_mlflow.prov.sources.sql.event_factory import MOST_ROWS

_CONDITIONS = ("", "tags.`mlflow.prompt.is_prompt` = 'true'")
"""Filters: without one, servers leave out prompts."""
_PAGE = 100
_DATASET = (
    *("dataset_id", "name", "schema", "profile", "digest", "created_time", "last_update_time"),
    *("created_by", "last_updated_by"),
)


def experiments(reading: Reading) -> Iterator[Event]:
    """Give all experiments, deleted ones last."""
    for found in reading.index.experiments():
        tags = dict(sorted(dict(found.tags or {}).items()))
        yield from reading.entries.experiment(plain_records.experiment(found), tags)


def registered_models(reading: Reading) -> Iterator[Event]:
    """Give all registered models and prompts, each with its versions and then its aliases."""
    search = reading.server.client.search_registered_models
    found: dict[str, tuple[Any, str]] = {}
    for condition in _CONDITIONS:
        pages = reading.server.pages(search, condition or None, max_results=_PAGE)
        found.update({model.name: (model, condition) for model in pages})
    for name in sorted(found):
        model, condition = found[name]
        record = plain_records.registered_model(model)
        yield reading.entries.registered_model(record, _tags(model))
        versions = sorted(_versions(reading, name, condition), key=lambda one: int(one.version))
        for version in versions:
            record = plain_records.model_version(version)
            yield from reading.entries.model_version(record, _tags(version))
        for alias, number in sorted(dict(model.aliases or {}).items()):
            yield reading.entries.alias(name, alias, number)


def _versions(reading: Reading, name: str, condition: str) -> Iterator[Any]:
    quote = '"' if "'" in name else "'"
    both = " AND ".join(filter(None, (f"name = {quote}{name}{quote}", condition)))
    search = reading.server.client.search_model_versions
    yield from reading.server.pages(search, both, max_results=_PAGE)


def _tags(found: Any) -> dict[str, str]:
    """Give the tags of a model or version; of prompts MLflow's own property leaves some out."""
    tags = getattr(found, "_tags", None) or found.tags or {}
    return dict(sorted(dict(tags).items()))


def models_without_run(reading: Reading) -> Iterator[Event]:
    """Give the logged models that no run of this server is the source of."""
    for model_id in _orphans(reading):
        yield from reading.logged_model(model_id)


def artifacts_without_run(reading: Reading) -> Iterator[Event]:
    """Give the files of the logged models that no run of this server is the source of."""
    for model_id in _orphans(reading):
        yield from reading.model_artifacts(model_id)


def _orphans(reading: Reading) -> list[str]:
    index = reading.index
    found = list(index.models(None))
    for run_id in index.sources():
        if not is_run(reading, run_id):
            found += index.models(run_id)
    return sorted(found)


def is_run(reading: Reading, run_id: str) -> bool:
    """Tell whether the server has a run of this id."""
    try:
        reading.server.ask(reading.server.store.get_run, run_id)
    except Refused:
        return False
    return True


def traces_without_run(reading: Reading) -> Iterator[Event]:
    """Give the traces that no run of this server made."""
    known: dict[str | None, bool] = {None: False}
    for experiment in reading.index.experiments():
        try:
            for info, entity in reading.traces_of(str(experiment.experiment_id), None):
                run_id = plain_records.source_run(info)
                if run_id not in known:
                    known[run_id] = is_run(reading, str(run_id))
                if not known[run_id]:
                    yield from reading.trace(info, entity)
        except NotOffered:
            return


def evaluation_datasets(reading: Reading) -> Iterator[Event]:
    """Give evaluation data sets with their tags, experiments and records."""
    store = reading.server.store
    search = getattr(store, "search_datasets", None)
    if search is None:
        return
    try:
        found = list(reading.server.pages(search, max_results=50))
    except NotOffered:
        return
    for dataset in sorted(found, key=lambda one: str(one.dataset_id)):
        named = {"dataset_id": str(dataset.dataset_id)}
        linked = reading.server.ask(store.get_dataset_experiment_ids, dataset.dataset_id)
        arguments = {
            **_there(plain_records.fields(dataset, *_DATASET)),
            "tags": dict(sorted(dict(dataset.tags or {}).items())),
            "experiment_ids": sorted(map(str, linked)),
        }
        subjects = {"dataset": dataset.dataset_id}
        yield reading.entries.call("create_dataset", subjects, arguments)
        rows = sorted(
            (_there(one.to_dict()) for one in _dataset_records(reading, dataset.dataset_id)),
            key=lambda row: (row.get("created_time") or 0, str(row.get("dataset_record_id"))),
        )
        for start in range(0, len(rows), MOST_ROWS):
            given = {**named, "records": rows[start : start + MOST_ROWS]}
            yield reading.entries.call("upsert_dataset_records", subjects, given)


def _dataset_records(reading: Reading, dataset_id: str) -> Iterator[Any]:
    load = reading.server.store._load_dataset_records
    yield from reading.server.pages(load, dataset_id, max_results=1000)


def _there(found: Mapping[str, Any]) -> dict[str, Json]:
    return {name: plain_records.plain(item) for name, item in found.items() if item is not None}


def scorers(reading: Reading) -> Iterator[Event]:
    """Give each version of each scorer."""
    store = reading.server.store
    if not hasattr(store, "list_scorer_versions"):
        return
    for experiment in reading.index.experiments():
        experiment_id = str(experiment.experiment_id)
        if experiment.lifecycle_stage == "deleted":
            continue
        try:
            latest = reading.server.ask(store.list_scorers, experiment_id)
        except NotOffered:
            return
        names = sorted(str(one.scorer_name) for one in latest)
        for name in names:
            versions = reading.server.ask(store.list_scorer_versions, experiment_id, name)
            yield from _scorer(reading, experiment_id, name, versions)


def _scorer(
    reading: Reading, experiment_id: str, name: str, versions: Sequence[Any]
) -> Iterator[Event]:
    for found in sorted(versions, key=lambda one: int(one.scorer_version)):
        said = plain_records.fields(found, "scorer_id", "scorer_version", "creation_time")
        text = getattr(found, "_serialized_scorer", None)
        arguments = {"experiment_id": experiment_id, "name": name, **said}
        subjects = {"experiment": experiment_id, "name": name}
        yield reading.entries.call(
            "register_scorer", subjects, _there({**arguments, "serialized_scorer": text})
        )
