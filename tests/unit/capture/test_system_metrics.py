"""System metrics of collectors, logged to a real store with MLflow's own."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from mlflow.tracking import fluent

from yprov_mlflow.prov.capture import system_metrics
from yprov_mlflow.prov.capture.system_metrics import Publisher
from yprov_mlflow.prov.collectors.base import Quantity

ENERGY = Quantity(
    *("energy", "J", "ElectricEnergy", "device", "measured", "gpu0"),
    cumulative=True,
    system_metric="gpu_0_energy_joules",
)
MEMORY = Quantity(
    *("memory_used", "BYTE", "InformationContentExpressionRatio", "node", "measured"),
    system_metric="system_memory_usage_megabytes",
    scale=1e-6,
)
PRIVATE = Quantity("temperature", "DEG_C", "Temperature", "device", "measured")
QUANTITIES = (ENERGY, MEMORY, PRIVATE)
SECOND_NS = 1_000_000_000
LONG_S = 60.0
"""Timeout that only a failing test reaches."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("store")
    uri = f"sqlite:///{folder}/mlflow.db"
    store = SqlAlchemyStore(uri, str(folder / "artifacts"))
    store.uri = uri
    return store


@pytest.fixture
def run_id(store: Any) -> str:
    return str(store.create_run("0", "ada", 1, [], "run").info.run_id)


@pytest.fixture(autouse=True)
def long_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system_metrics, "INTERVAL_S", 3600)


@pytest.fixture
def short_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")


class Warnings(list[BaseException]):
    """The errors passed to ``warn``."""

    def __call__(self, error: BaseException) -> None:
        self.append(error)


@pytest.fixture
def warnings() -> Warnings:
    return Warnings()


def points(store: Any, run_id: str, name: str) -> list[tuple[float, int, int]]:
    history = store.get_metric_history(run_id, f"system/{name}")
    return sorted((m.value, m.timestamp, m.step) for m in history)


def until(condition: Any) -> None:
    end = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_mean_of_gauges_and_last_value_of_totals_are_logged(
    store: Any, run_id: str, warnings: Warnings
) -> None:
    publisher = Publisher(True, warnings)
    publisher.take(run_id, store, QUANTITIES, [1.0, 2e6, 40.0], 1 * SECOND_NS)
    publisher.take(run_id, store, QUANTITIES, [5.0, None, 41.0], 2 * SECOND_NS)
    publisher.take(run_id, store, QUANTITIES, [float("nan"), 4e6, 42.0], 3 * SECOND_NS)
    assert not store.get_run(run_id).data.metrics
    publisher.finish(run_id, LONG_S)
    assert points(store, run_id, "gpu_0_energy_joules") == [(5.0, 2000, 0)]
    assert points(store, run_id, "system_memory_usage_megabytes") == [(3.0, 3000, 0)]
    assert len(store.get_run(run_id).data.metrics) == 2
    assert not warnings


def test_steps_continue_when_a_run_is_resumed(
    store: Any, run_id: str, warnings: Warnings, short_interval: None
) -> None:
    publisher = Publisher(True, warnings)
    for number in range(2):
        publisher.take(run_id, store, [ENERGY], [float(number)], number * SECOND_NS)
        until(lambda n=number: len(points(store, run_id, "gpu_0_energy_joules")) == n + 1)
    publisher.finish(run_id, LONG_S)
    publisher.take(run_id, store, [ENERGY], [2.0], 2 * SECOND_NS)
    publisher.finish(run_id, LONG_S)
    steps = [step for _, _, step in points(store, run_id, "gpu_0_energy_joules")]
    assert (steps, warnings) == ([0, 1, 2], [])


def test_system_metrics_are_logged_only_if_enabled_and_per_run(
    store: Any, warnings: Warnings
) -> None:
    first, second = (str(store.create_run("0", "ada", 1, [], n).info.run_id) for n in "ab")
    for everything in (False, True):
        publisher = Publisher(everything, warnings)
        publisher.take(first, store, [ENERGY], [1.0], SECOND_NS)
        publisher.take(second, store, [ENERGY], [2.0], SECOND_NS)
        publisher.take(first, None, [ENERGY], [1.0], SECOND_NS)
        publisher.finish(first, LONG_S)
        publisher.finish(second, LONG_S)
        publisher.finish("unknown run", LONG_S)
        logged = [len(points(store, run, "gpu_0_energy_joules")) for run in (first, second)]
        assert logged == ([1, 1] if everything else [0, 0])
    assert points(store, second, "gpu_0_energy_joules")[0][0] == 2.0


@pytest.mark.parametrize("everything", [True, False])
def test_metrics_of_mlflows_monitor_are_not_logged_again(
    store: Any,
    run_id: str,
    warnings: Warnings,
    short_interval: None,
    monkeypatch: pytest.MonkeyPatch,
    everything: bool,
) -> None:
    monkeypatch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", store.uri)
    monitor = SystemMetricsMonitor(run_id)
    monkeypatch.setitem(fluent.run_id_to_system_metrics_monitor, run_id, monitor)
    publisher = Publisher(everything, warnings)
    # The names are unknown before the monitor's first sample.
    publisher.take(run_id, store, QUANTITIES, [1.0, -1e6, 40.0], SECOND_NS)
    time.sleep(0.2)
    assert not store.get_run(run_id).data.metrics
    monitor.start()
    try:
        until(lambda: points(store, run_id, "gpu_0_energy_joules"))
        publisher.take(run_id, store, QUANTITIES, [2.0, -1e6, 40.0], 2 * SECOND_NS)
        publisher.finish(run_id, LONG_S)
    finally:
        monitor.finish()
    memory = [value for value, _, _ in points(store, run_id, "system_memory_usage_megabytes")]
    assert all(value > 0 for value in memory)
    assert [value for value, _, _ in points(store, run_id, "gpu_0_energy_joules")] == [1.0, 2.0]
    assert not warnings


def test_metrics_that_the_monitor_has_just_cleared_are_not_logged_again(
    store: Any, run_id: str, warnings: Warnings, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = SimpleNamespace(metrics={"system_memory_usage_megabytes": [1.0]})
    monitor = SimpleNamespace(monitors=[memory, SimpleNamespace(metrics={"network": [2.0]})])
    monkeypatch.setitem(fluent.run_id_to_system_metrics_monitor, run_id, monitor)
    publisher = Publisher(True, warnings)
    publisher.take(run_id, store, QUANTITIES, [1.0, 2e6, 40.0], SECOND_NS)
    memory.metrics.clear()  # as for a moment after each of its points
    publisher.finish(run_id, LONG_S)
    assert list(store.get_run(run_id).data.metrics) == ["system/gpu_0_energy_joules"]


def test_names_include_the_node_id(
    store: Any, run_id: str, warnings: Warnings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_NODE_ID", "node_1")
    publisher = Publisher(True, warnings)
    publisher.take(run_id, store, [ENERGY], [1.0], SECOND_NS)
    publisher.finish(run_id, LONG_S)
    assert list(store.get_run(run_id).data.metrics) == ["system/node_1/gpu_0_energy_joules"]


class Hanging:
    """A store with one method that blocks until it is released."""

    def __init__(self, store: Any, method: str) -> None:
        self.store = store
        self.method = method
        self.called = threading.Event()
        self.released = threading.Event()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.store, name)

        def wait(*args: Any, **kwargs: Any) -> Any:
            self.called.set()
            assert self.released.wait(LONG_S)
            return method(*args, **kwargs)

        return wait if name == self.method else method


@pytest.mark.parametrize("method", ["get_run", "log_batch"])
def test_hanging_store_does_not_block_the_run(
    store: Any,
    run_id: str,
    warnings: Warnings,
    short_interval: None,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
) -> None:
    monkeypatch.setattr(system_metrics, "HANGING_S", 0.1)
    hanging = Hanging(store, method)
    publisher = Publisher(True, warnings)
    publisher.take(run_id, hanging, [ENERGY], [1.0], SECOND_NS)
    assert hanging.called.wait(LONG_S)
    time.sleep(0.2)
    before = time.monotonic()
    publisher.take(run_id, hanging, [ENERGY], [2.0], SECOND_NS)
    assert "takes no system metrics" in str(warnings[0])
    publisher.finish(run_id, 0.1)
    assert time.monotonic() - before < 5
    assert "took more than 0.1 s" in str(warnings[1])
    (thread,) = [t for t in threading.enumerate() if t.name == "yprov-system-metrics"]
    hanging.released.set()
    thread.join(LONG_S)
    logged = [value for value, _, _ in points(store, run_id, "gpu_0_energy_joules")]
    assert 2.0 not in logged  # the run was over
    assert len(logged) == (method == "log_batch")


def test_store_that_raises_is_called_again_for_later_samples(
    store: Any, run_id: str, warnings: Warnings, short_interval: None
) -> None:
    class Refusing:
        def __getattr__(self, name: str) -> Any:
            if not warnings:
                raise ConnectionError("down")
            return getattr(store, name)

    publisher = Publisher(True, warnings)
    publisher.take(run_id, Refusing(), [ENERGY], [1.0], SECOND_NS)
    until(lambda: warnings)
    publisher.take(run_id, Refusing(), [ENERGY], [2.0], SECOND_NS)
    publisher.finish(run_id, LONG_S)
    assert [type(error) for error in warnings] == [ConnectionError]
    assert [value for value, _, _ in points(store, run_id, "gpu_0_energy_joules")] == [2.0]


@pytest.mark.parametrize(
    ("interval", "samples", "seconds"),
    [("", "", 3600), ("2.5", "4", 10), ("x", "", 3600), ("-1", "", 3600), ("nan", "", 3600)],
)
def test_interval_is_read_from_the_variables_of_mlflow(
    monkeypatch: pytest.MonkeyPatch, interval: str, samples: str, seconds: float
) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", interval)
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLES_BEFORE_LOGGING", samples)
    assert system_metrics._interval_s() == seconds


def test_monitor_of_is_none_without_monitors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(fluent, "run_id_to_system_metrics_monitor")
    assert system_metrics.monitor_of("run") is None
