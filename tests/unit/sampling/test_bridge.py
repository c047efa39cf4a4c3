"""Which runs of a process are measured, from when to when, and what of them is this process's."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from yprov_mlflow.prov import settings
from yprov_mlflow.prov.capture import contexts
from yprov_mlflow.prov.capture.recorder import Recorder
from yprov_mlflow.prov.collectors import catalog
from yprov_mlflow.prov.collectors.base import Available, Collector, CollectorContext, Quantity
from yprov_mlflow.prov.events import (
    CollectorStarted,
    CollectorStopped,
    Event,
    MetricsLogged,
    ParamsLogged,
    RunCreated,
    RunUpdated,
    Sampled,
    TagsSet,
)
from yprov_mlflow.prov.journal import JournalDirectory, JournalReader
from yprov_mlflow.prov.sampling import bridge, sampler
from yprov_mlflow.prov.sampling.claims import Claims

ENERGY = Quantity("energy", "J", "ElectricEnergy", "process", "measured", cumulative=True)
CREATED = (RunCreated, "0", "exp", "fox", "ada", 0, None, {}, {"uuid": "", "uri": ""})
FIRST, SECOND = "1" * 32, "2" * 32


class Meter(Collector):
    """Always 1 J."""

    name = "meter"

    def probe(self) -> Available:
        return Available(quantities=[ENERGY])

    def sample(self) -> Sequence[float | None]:
        return [1.0]


class Point:
    """What of MLflow's ``Metric`` the recorder reads."""

    def __init__(self) -> None:
        self.key, self.value, self.timestamp, self.step = "loss", 0.5, 0, 0


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], Recorder]:
    """Give a function that makes a recorder whose collectors are all the one above."""
    monkeypatch.setattr(catalog, "choose", list)
    monkeypatch.setattr(catalog, "load", lambda _: Meter)
    given = {"directory": tmp_path, "collectors": "meter", "interval_s": 0.05}
    return lambda: Recorder(settings.load(**given))


def events(found: Recorder, run_id: str, cls: type[Event]) -> list[Any]:
    paths = JournalDirectory(found.directory, run_id).files()
    return [event for path in paths for event in JournalReader(path) if type(event) is cls]


def rank_of(monkeypatch: pytest.MonkeyPatch, rank: int, *, world_size: int) -> None:
    for variable, value in (("RANK", rank), ("LOCAL_RANK", rank), ("WORLD_SIZE", world_size)):
        monkeypatch.setenv(variable, str(value))


def soon(met: Callable[[], Any], within_s: float = 10.0) -> None:
    end = time.monotonic() + within_s
    while not met():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.01)


def test_who_chooses_anew_ends_the_measuring_of_open_runs_with_them(
    recorder: Callable[[], Recorder],
) -> None:
    found = recorder()
    found.record(FIRST, *CREATED)
    soon(lambda: events(found, FIRST, Sampled))
    found.collecting.choose({"collectors": ("other",)})
    found.record(SECOND, *CREATED)
    soon(lambda: events(found, SECOND, Sampled))
    before = len(events(found, FIRST, Sampled))
    soon(lambda: len(events(found, FIRST, Sampled)) > before)
    found.finish(FIRST)
    (stopped,) = events(found, FIRST, CollectorStopped)
    after = len(events(found, FIRST, Sampled))
    assert stopped.report["samples"] == after
    time.sleep(0.2)
    assert len(events(found, FIRST, Sampled)) == after, "nothing after the end"
    found.finish(SECOND)
    names = [events(found, run, CollectorStarted)[0].collector for run in (FIRST, SECOND)]
    assert names == ["meter", "other"]


def test_who_chooses_the_same_again_has_the_same_threads(
    recorder: Callable[[], Recorder],
) -> None:
    found = recorder()
    found.record(FIRST, *CREATED)
    measuring = found.collecting._measuring
    found.collecting.choose({"collectors": ("meter",), "interval_s": 0.05})
    found.record(SECOND, *CREATED)
    assert found.collecting._measuring is measuring
    found.finish(FIRST)
    found.finish(SECOND)


def test_what_a_rank_logs_after_the_end_is_not_measured(
    recorder: Callable[[], Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    rank_of(monkeypatch, 0, world_size=1)
    found = recorder()
    assert "rank" in found.collecting.ranks
    found.record(FIRST, *CREATED)
    soon(lambda: events(found, FIRST, Sampled))
    found.finish(FIRST)
    found.record(FIRST, RunUpdated, "FINISHED", 1, None, None)
    found.state(FIRST).terminal = True
    count = len(events(found, FIRST, Sampled))
    found.record(FIRST, ParamsLogged, {"accuracy": "1"})
    found.record_metrics(FIRST, [Point()], None)
    time.sleep(0.3)
    assert len(events(found, FIRST, Sampled)) == count
    found.state(FIRST).terminal = False  # it is resumed
    found.record(FIRST, RunUpdated, "RUNNING", None, None, None)
    soon(lambda: len(events(found, FIRST, Sampled)) > count)
    found.finish(FIRST)


def test_a_rank_is_measured_from_its_first_point_on_whatever_came_before(
    recorder: Callable[[], Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    rank_of(monkeypatch, 1, world_size=2)
    found = recorder()
    found.record(FIRST, TagsSet, {"of": "rank 1"})
    time.sleep(0.3)
    assert not events(found, FIRST, CollectorStarted), "a tag may be that of who looks after"
    found.record_metrics(FIRST, [Point()], None)
    soon(lambda: events(found, FIRST, Sampled))
    assert len(events(found, FIRST, MetricsLogged)) == 1
    found.finish(FIRST)


def claims(folder: Path, host: str) -> Claims:
    recorder: Any = SimpleNamespace(directory=folder / "journals", host=host)
    return bridge.CollectorBridge(recorder).claims(FIRST)


@pytest.mark.parametrize(
    ("boot_id", "second"),
    [("5445b454-f7e0-45ba-a507-82cfff709166\n", set()), (None, {"node"})],
    ids=["one machine", "two machines"],
)
def test_containers_of_one_machine_measure_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, boot_id: str | None, second: set[str]
) -> None:
    monkeypatch.setattr(
        bridge, "CollectorContext", functools.partial(CollectorContext, root=tmp_path / "root")
    )
    if boot_id is not None:
        file = tmp_path / "root/proc/sys/kernel/random/boot_id"
        file.parent.mkdir(parents=True)
        file.write_text(boot_id)
    pods = [claims(tmp_path, host) for host in ("pod-0", "pod-1")]
    assert [pod.take(["node"]) for pod in pods] == [{"node"}, second]
    for pod in pods:
        pod.release()


def test_a_context_is_sampled_when_it_begins_and_ends(
    recorder: Callable[[], Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = recorder()
    found.collecting.choose({"interval_s": 3600.0})
    monkeypatch.setattr(sampler._Instrument, "marks_from_s", 0.0)
    found.record(FIRST, *CREATED)
    soon(lambda: len(events(found, FIRST, Sampled)) == 1)
    time.sleep(0.1)  # until the sampler waits again
    scope = contexts.Scope("training", None, FIRST)
    token = contexts.current.set(scope)
    found.enter_contexts(FIRST)
    soon(lambda: len(events(found, FIRST, Sampled)) == 2)
    contexts.current.reset(token)
    found.leave(scope, failed=False)
    soon(lambda: len(events(found, FIRST, Sampled)) == 3)
    found.finish(FIRST)
