"""Handlers fit the installed MLflow, and every method that writes has one."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
from mlflow.store.model_registry.file_store import FileStore as FileRegistry
from mlflow.store.model_registry.rest_store import RestStore as RestRegistry
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as SqlRegistry
from mlflow.store.tracking.file_store import FileStore
from mlflow.store.tracking.rest_store import RestStore
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from yprov_mlflow.prov.capture import artifacts, handlers, owned_calls

STORES = [
    (FileStore, "tracking"),
    (RestStore, "tracking"),
    (SqlAlchemyStore, "tracking"),
    (FileRegistry, "registry"),
    (RestRegistry, "registry"),
    (SqlRegistry, "registry"),
]


def methods(cls: type) -> dict[str, Any]:
    attributes = {name: inspect.getattr_static(cls, name) for name in dir(cls)}
    return {
        name: function
        for name, function in attributes.items()
        if not name.startswith("_") and inspect.isfunction(function)
    }


@pytest.mark.parametrize(("cls", "kind"), STORES)
def test_first_word_of_every_method_is_a_read_or_a_write(cls: type, kind: str) -> None:
    words = {name.split("_")[0] for name in methods(cls)}
    assert words <= handlers.WRITES | handlers.READS
    assert not handlers.WRITES & handlers.READS


@pytest.mark.parametrize(("cls", "kind"), STORES)
def test_writes_have_a_handler_and_reads_have_none(cls: type, kind: str) -> None:
    noted = {"get_run", "get_logged_model"} if kind == "tracking" else set()
    for name, function in methods(cls).items():
        handled = handlers.handler(kind, name, function) is not None
        writes = name.split("_")[0] in handlers.WRITES and name not in handlers.NOT_CALLS
        assert handled == (writes or name in noted), name


@pytest.mark.parametrize("cls", [FileStore, RestStore, SqlAlchemyStore])
@pytest.mark.parametrize("name", sorted(handlers.HANDLERS))
def test_handler_accepts_the_arguments_of_its_method(cls: type, name: str) -> None:
    method = inspect.getattr_static(cls, name, None)
    if method is None:
        pytest.skip(f"{cls.__name__} of this MLflow has no {name}")
    handler = inspect.signature(handlers.HANDLERS[name][0])
    parameters = list(inspect.signature(method).parameters)[1:]
    positional = [object()] * len(parameters)
    handler.bind(object(), *positional)
    handler.bind(object(), **dict.fromkeys(parameters, object()))


@pytest.mark.parametrize("name", sorted(artifacts.WRAPPERS))
def test_repositories_have_the_wrapped_methods(name: str) -> None:
    assert inspect.isfunction(inspect.getattr_static(LocalArtifactRepository, name))


VERSION = {"name": "iris", "version": "1", "run_id": "r", "model_id": "m"}


@pytest.mark.parametrize(
    ("method", "arguments", "answer", "subjects"),
    [
        ("create_experiment", {"name": "e"}, "7", {"experiment": "7"}),
        ("set_experiment_tag", {"experiment_id": "7"}, None, {"experiment": "7"}),
        ("create_registered_model", {"name": "iris"}, {"name": "iris"}, {"model": "iris"}),
        ("create_model_version", {"name": "iris"}, VERSION, {"model": "iris", "version": "1"}),
        (
            "set_registered_model_alias",
            {"name": "iris", "alias": "best", "version": 1},
            None,
            {"model": "iris", "alias": "best", "version": "1"},
        ),
        ("create_dataset", {"name": "d"}, {"dataset_id": "d-1", "name": "d"}, {"dataset": "d-1"}),
        ("create_webhook", {"name": "w"}, {"name": "w", "webhook_id": "1"}, {"webhook": "1"}),
        (
            "register_scorer",
            {"experiment_id": "7", "name": "s"},
            None,
            {"experiment": "7", "name": "s"},
        ),
        (
            "create_assessment",
            {"assessment": {}},
            {"trace_id": "tr-1", "assessment_id": "a-1"},
            {"trace": "tr-1", "assessment": "a-1"},
        ),
        ("link_traces_to_run", {"trace_ids": ["tr-1"], "run_id": "r"}, None, {"run": "r"}),
        ("link_prompts_to_trace", {"trace_id": "tr-1"}, None, {"trace": "tr-1"}),
        ("set_trace_tag", {"request_id": "tr-1", "key": "k"}, None, {"trace": "tr-1", "key": "k"}),
        ("record_logged_model", {"run_id": "r"}, None, {"run": "r"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_subjects_are_those_of_converted_stores(
    method: str, arguments: dict[str, Any], answer: Any, subjects: dict[str, str]
) -> None:
    assert owned_calls.subjects_of(method, arguments, answer) == subjects
