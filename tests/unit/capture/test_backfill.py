"""What the journals of a run lack is read back from its store, and nothing else."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow.entities import RunData, RunTag
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    ENDPOINT_NOT_FOUND,
    INTERNAL_ERROR,
    RESOURCE_DOES_NOT_EXIST,
)

from yprov_mlflow.prov.capture.backfill import StoreBackfill
from yprov_mlflow.prov.capture.run_document import ExpectedState
from yprov_mlflow.prov.events import Event, OutputsLogged, TagDeleted, TagsSet
from yprov_mlflow.prov.journal import JournalDirectory


class Store:
    """A store with one run; ``models`` is the code of the error for logged models."""

    def __init__(self, tags: dict[str, str], models: int | None = None) -> None:
        self.tags = tags
        self.models = models

    def get_run(self, run_id: str) -> Any:
        info = SimpleNamespace(
            run_id=run_id,
            experiment_id="0",
            status="RUNNING",
            end_time=None,
            run_name=None,
            lifecycle_stage="active",
        )
        outputs = [SimpleNamespace(model_id="m-1", step=0)] if self.models else []
        data = RunData(tags=[RunTag(*tag) for tag in self.tags.items()])
        return SimpleNamespace(
            info=info, data=data, inputs=None, outputs=SimpleNamespace(model_outputs=outputs)
        )

    def get_logged_model(self, model_id: str) -> Any:
        raise MlflowException(model_id, error_code=self.models)

    def search_logged_models(self, *arguments: Any, page_token: str | None) -> Any:
        raise MlflowException("search", error_code=self.models)


def backfill(
    folder: Path, store: Store, tags: dict[str, str], after: dict[str, str] | None = None
) -> list[Event]:
    """Return what a store adds to a run with these tags; ``after`` is in the store later on."""
    artifacts = SimpleNamespace(store=store, run=store.get_run("r"), files=lambda limit: [])
    add: Any = StoreBackfill(
        SimpleNamespace(), artifacts, JournalDirectory(folder, "r"), store.models is not None
    )
    store.tags = after or store.tags
    return list(add(ExpectedState(joined=False, status="RUNNING", tags=tags), True))


@pytest.mark.parametrize(
    ("stored", "logged", "added"),
    [
        ("v", "v", False),
        ("v", "v2", True),  # a later value, not a truncated one
        ("v" * 6000, "v" * 7000, False),
        ("w" * 6000, "v" * 7000, True),
        ("", "v", True),
    ],
    ids=["equal", "shorter", "truncated", "different", "empty"],
)
def test_only_long_values_can_be_truncated(
    tmp_path: Path, stored: str, logged: str, added: bool
) -> None:
    events = backfill(tmp_path, Store({"t": stored}), {"t": logged})
    assert [event.tags for event in events if isinstance(event, TagsSet)] == (
        [{"t": stored}] if added else []
    )
    assert len(events) == added


def test_tag_set_after_the_run_was_read_is_not_deleted(tmp_path: Path) -> None:
    events = backfill(tmp_path, Store({}), {"new": "1", "gone": "1"}, {"new": "1"})
    assert [(type(event), event.key) for event in events if isinstance(event, TagDeleted)] == [
        (TagDeleted, "gone")
    ]
    assert len(events) == 1


@pytest.mark.parametrize("code", [RESOURCE_DOES_NOT_EXIST, ENDPOINT_NOT_FOUND])
def test_deleted_models_cost_no_document(tmp_path: Path, code: int) -> None:
    (event,) = backfill(tmp_path, Store({}, code), {})
    assert isinstance(event, OutputsLogged)
    assert event.models == [("m-1", 0)]


def test_store_that_fails_is_not_taken_for_one_without_models(tmp_path: Path) -> None:
    with pytest.raises(MlflowException):
        backfill(tmp_path, Store({}, INTERNAL_ERROR), {})
