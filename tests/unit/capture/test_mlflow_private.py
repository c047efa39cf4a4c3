"""Every private name of MLflow exists, and does what the package relies on."""

from __future__ import annotations

import inspect
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import pytest
from mlflow.entities import Metric
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from packaging.version import Version
from support.versions import since

import yprov_mlflow.prov
from yprov_mlflow.prov.capture import mlflow_private

MLFLOW_3 = Version(mlflow.__version__) >= Version("3")
PROV = Path(yprov_mlflow.prov.__file__).parent


@pytest.fixture
def uri(empty_database: Path, tmp_path: Path) -> str:
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"


@pytest.fixture
def store(uri: str, tmp_path: Path) -> Any:
    return SqlAlchemyStore(uri, str(tmp_path / "artifacts"))


@pytest.fixture
def run_id(store: Any) -> str:
    return str(store.create_run("0", "ada", 1, [], "run").info.run_id)


def test_patched_functions_and_methods_exist() -> None:
    tracking, registry = mlflow_private.tracking_utils(), mlflow_private.registry_utils()
    assert callable(getattr(tracking, mlflow_private.RESOLVE_TRACKING_URI))
    assert callable(getattr(registry, mlflow_private.RESOLVE_REGISTRY_URI))
    for cls in (tracking.TrackingStoreRegistry, mlflow_private.registry_store_registry()):
        method = getattr(cls, mlflow_private.GET_STORE)
        assert list(inspect.signature(method).parameters)[1].endswith("uri")


def test_finder_of_import_hooks_has_two_tables() -> None:
    finder, hooked = mlflow_private.import_hooks()
    assert list(inspect.signature(finder.find_spec).parameters)
    assert [type(modules) for modules in hooked] == [dict, dict]


def test_hard_delete_methods_exist() -> None:
    names = dict(mlflow_private.HARD_DELETES)
    if not MLFLOW_3:
        del names["model"]
    assert all(callable(getattr(SqlAlchemyStore, name)) for name in names.values())


def test_server_store_variable_is_that_of_mlflow() -> None:
    from mlflow.server import BACKEND_STORE_URI_ENV_VAR

    assert mlflow_private.SERVER_STORE_VARIABLE == BACKEND_STORE_URI_ENV_VAR


def test_store_uri_is_attached_to_a_store(store: Any) -> None:
    assert mlflow_private.store_uri(store) is None
    mlflow_private.set_store_uri(store, "sqlite:///a.db")
    assert mlflow_private.store_uri(store) == "sqlite:///a.db"


def test_open_store_returns_the_store_of_a_uri(uri: str, run_id: str) -> None:
    assert mlflow_private.open_store(uri).get_run(run_id).info.run_id == run_id


def test_open_store_uses_an_installed_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow_private.tracking_utils(), "_get_store", lambda uri: uri)
    assert mlflow_private.open_store("mysql://h/x") == "mysql+pymysql://h/x"
    assert mlflow_private.open_store("sqlite:///x.db") == "sqlite:///x.db"


def test_kinds_of_stores_are_known_by_their_uris() -> None:
    uris = ("sqlite:///a.db", "postgresql+psycopg2://h/x", "http://h", "file:///a", "a/b")
    assert all(mlflow_private.has_store_type(uri) for uri in uris)
    assert not mlflow_private.has_store_type("foo://h")


def test_async_queue_calls_the_method_of_the_new_class(store: Any, run_id: str) -> None:
    batches = []

    class Subclass(SqlAlchemyStore):
        def log_batch(self, run_id: str, metrics: Any, params: Any, tags: Any) -> None:
            batches.append(metrics)

    store.__class__ = Subclass
    mlflow_private.rebind_async_queue(store)
    store.log_batch_async(run_id, [Metric("loss", 1.0, 0, 0)], [], []).wait()
    store.shut_down_async_logging()
    assert [[point.key for point in batch] for batch in batches] == [["loss"]]
    mlflow_private.rebind_async_queue(SimpleNamespace())  # a store without a queue


def test_artifact_repositories_of_clients_are_cached(
    uri: str, run_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file.txt"
    file.write_text("x")
    cache: dict[str, Any] = {}
    utils = mlflow_private.tracking_utils()
    monkeypatch.setattr(utils, "_artifact_repos_cache", type(utils._artifact_repos_cache)(cache))
    mlflow.MlflowClient(uri).log_artifact(run_id, str(file))
    assert len(mlflow_private.cached_artifact_repositories()) == 1


def test_server_returns_its_tracking_store(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.server import handlers

    monkeypatch.setattr(handlers, "_tracking_store", store)
    assert mlflow_private.server_tracking_store() is store


def test_server_returns_the_artifact_folder_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.server import handlers

    monkeypatch.setattr(handlers, "_artifact_repo", None)
    monkeypatch.setenv("_MLFLOW_SERVER_ARTIFACT_DESTINATION", str(tmp_path))
    root = "mlflow-artifacts:/0/r/artifacts"
    repository, prefix = mlflow_private.server_artifact_repository(root)
    (tmp_path / "file.txt").write_text("x")
    repository.log_artifact(str(tmp_path / "file.txt"), f"{prefix}provenance")
    assert (tmp_path / "0/r/artifacts/provenance/file.txt").is_file()


def test_latest_metrics_have_step_and_timestamp(store: Any, run_id: str) -> None:
    for step in (1, 2):
        store.log_metric(run_id, Metric("loss", 0.5, 10 * step, step))
    (latest,) = mlflow_private.latest_metrics(store.get_run(run_id))
    assert (latest.key, latest.value, latest.timestamp, latest.step) == ("loss", 0.5, 20, 2)


def test_metric_contexts_are_attached_to_metrics() -> None:
    first, second = Metric("a", 1.0, 0, 0), Metric("b", 1.0, 0, 0)
    mlflow_private.set_metric_context([first], ("training",))
    assert mlflow_private.metric_contexts("run", [first, second], ()) == [("training",), ()]
    key = id(first)
    assert key in mlflow_private.QUEUED
    del first  # another metric may have its id from now on
    assert key not in mlflow_private.QUEUED


def test_context_of_a_batch_is_for_its_run_alone() -> None:
    metric = Metric("loss", 1.0, 0, 0)
    mlflow_private.set_batch_context("run", [metric], ("training",))
    copy = Metric("loss", 1.0, 0, 0)
    assert mlflow_private.metric_contexts("other", [copy], ()) == [()]
    assert mlflow_private.metric_contexts("run", [copy], ()) == [("training",)]
    assert mlflow_private.metric_contexts("run", [copy], ()) == [()], "each point once"


def test_metrics_have_models_and_datasets() -> None:
    plain = Metric("a", 1.0, 0, 0)
    assert mlflow_private.metric_models([plain]) == [None]
    assert mlflow_private.metric_datasets([plain]) == [None]
    if MLFLOW_3:
        linked = Metric("a", 1.0, 0, 0, model_id="m", dataset_name="d", dataset_digest="1")
        assert mlflow_private.metric_models([plain, linked]) == [None, "m"]
        assert mlflow_private.metric_datasets([plain, linked]) == [None, ("d", "1")]


@pytest.mark.skipif(not MLFLOW_3, reason="MLflow 2 has no tracing client")
def test_tracing_client_uploads_trace_data() -> None:
    from mlflow.tracing.client import TracingClient

    calls = []
    client = SimpleNamespace(_upload_trace_data=lambda info, data: calls.append((info, data)))
    mlflow_private.upload_trace_data(client, "info", "data")
    assert calls == [("info", "data")]
    parameters = inspect.signature(TracingClient._upload_trace_data).parameters
    assert list(parameters)[1:] == ["trace_info", "trace_data"]


def test_no_other_module_of_capture_uses_private_names() -> None:
    private = re.compile(
        r"mlflow(\.\w+)*\._\w+|\b(utils|handlers|store|metric|client|queue|run\.data)\._[a-z]\w*"
        r"|\b(metric|m|store|instance)\.__dict__"
    )
    allowed = {"attributes = metric.__dict__"}  # the hot path of Recorder.record_metric
    uses = [
        f"{path.name}: {line.strip()}"
        for path in sorted((PROV / "capture").glob("*.py"))
        if path.name != "mlflow_private.py"
        for line in path.read_text("utf-8").splitlines()
        if private.search(line) and line.strip() not in allowed
    ]
    assert uses == []


@since("3.0", "ids of traces at spans")
@pytest.mark.filterwarnings("default")  # MLflow does not trace if a warning is an error
def test_open_trace_has_metadata_until_it_ends(uri: str) -> None:
    mlflow.set_tracking_uri(uri)
    try:
        with mlflow.start_run() as run, mlflow.start_span("root") as span:
            metadata = mlflow_private.metadata_of_open_trace(span.trace_id)
            assert (metadata or {})["mlflow.sourceRun"] == run.info.run_id
            assert mlflow_private.trace_of(span) == span.trace_id
        mlflow.flush_trace_async_logging()
        assert mlflow_private.metadata_of_open_trace(span.trace_id) is None
        store = mlflow_private.open_store(uri)
        for trace_ids in ([span.trace_id], [span.trace_id, "tr-none"]):
            [info] = mlflow_private.trace_infos(store, trace_ids, _ask)
            assert mlflow_private.trace_of(info) == span.trace_id
            assert mlflow_private.trace_metadata(info)["mlflow.sourceRun"] == run.info.run_id
        [stored] = mlflow_private.stored_spans(store, span.trace_id, server=False)
        assert stored["name"] == "root"
    finally:
        mlflow.set_tracking_uri(None)


def _ask(question: Any, *args: Any) -> Any:
    try:
        return question(*args)
    except mlflow.MlflowException:
        return None
