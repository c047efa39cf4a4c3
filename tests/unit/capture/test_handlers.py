"""Handlers fit the MLflow that is installed, and no method that writes is without one."""

from __future__ import annotations

import inspect

import pytest
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
from mlflow.store.model_registry.file_store import FileStore as FileRegistry
from mlflow.store.model_registry.rest_store import RestStore as RestRegistry
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as SqlRegistry
from mlflow.store.tracking.file_store import FileStore
from mlflow.store.tracking.rest_store import RestStore
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from yprov_mlflow.prov.capture import artifacts, handlers

STORES = [
    (FileStore, "tracking"),
    (RestStore, "tracking"),
    (SqlAlchemyStore, "tracking"),
    (FileRegistry, "registry"),
    (RestRegistry, "registry"),
    (SqlRegistry, "registry"),
]


def methods(cls: type) -> dict[str, object]:
    found = {name: inspect.getattr_static(cls, name) for name in dir(cls)}
    return {
        name: function
        for name, function in found.items()
        if not name.startswith("_") and inspect.isfunction(function)
    }


@pytest.mark.parametrize(("cls", "kind"), STORES)
def test_every_method_is_known_to_write_or_not_to(cls: type, kind: str) -> None:
    unknown = [
        name for name in methods(cls) if name.split("_")[0] not in handlers.WRITES | handlers.READS
    ]
    assert unknown == []
    assert not handlers.WRITES & handlers.READS


@pytest.mark.parametrize(("cls", "kind"), STORES)
def test_reads_are_left_alone_and_writes_are_not(cls: type, kind: str) -> None:
    noted = {"get_run", "get_logged_model"} if kind == "tracking" else set()
    for name, function in methods(cls).items():
        handled = handlers.handler(kind, name, function) is not None
        writes = name.split("_")[0] in handlers.WRITES and name not in handlers.NOT_CALLS
        assert handled == (writes or name in noted), name


@pytest.mark.parametrize("cls", [FileStore, RestStore, SqlAlchemyStore])
@pytest.mark.parametrize("name", sorted(handlers.HANDLERS))
def test_a_handler_takes_what_its_method_takes(cls: type, name: str) -> None:
    method = inspect.getattr_static(cls, name, None)
    if method is None:
        pytest.skip(f"{cls.__name__} of this MLflow has no {name}")
    handler = inspect.signature(handlers.HANDLERS[name][0])
    parameters = list(inspect.signature(method).parameters)[1:]
    positional = [object()] * len(parameters)
    handler.bind(object(), object(), object(), *positional)
    handler.bind(object(), object(), object(), **dict.fromkeys(parameters, object()))


@pytest.mark.parametrize("name", sorted(artifacts.OBSERVERS))
def test_repositories_have_the_methods_that_are_observed(name: str) -> None:
    assert inspect.isfunction(inspect.getattr_static(LocalArtifactRepository, name))
