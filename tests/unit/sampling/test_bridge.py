"""The bridge: the runs that a process measures, from when to when, and its claims."""

from __future__ import annotations

import functools
import itertools
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
    WORKFLOW_FACTS,
    CollectorStarted,
    CollectorStopped,
    Event,
    FactsCollected,
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
    """The attributes of MLflow's ``Metric`` that the recorder reads."""

    def __init__(self) -> None:
        self.key, self.value, self.timestamp, self.step = "loss", 0.5, 0, 0


@pytest.fixture
def make_recorder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], Recorder]:
    """Return a function that creates a recorder whose only collector is ``Meter``."""
    monkeypatch.setattr(catalog, "choose", list)
    monkeypatch.setattr(catalog, "load", lambda _: Meter)
    options = {"directory": tmp_path, "collectors": "meter", "interval_s": 0.05}
    return lambda: Recorder(settings.load(**options))


def events(recorder: Recorder, run_id: str, cls: type[Event]) -> list[Any]:
    paths = JournalDirectory(recorder.directory, run_id).files()
    return [event for path in paths for event in JournalReader(path) if type(event) is cls]


def set_rank(monkeypatch: pytest.MonkeyPatch, rank: int, *, world_size: int) -> None:
    for variable, value in (("RANK", rank), ("LOCAL_RANK", rank), ("WORLD_SIZE", world_size)):
        monkeypatch.setenv(variable, str(value))


def wait_for(condition: Callable[[], Any], timeout_s: float = 10.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "timeout"
        time.sleep(0.01)


def test_new_choice_does_not_affect_open_runs(
    make_recorder: Callable[[], Recorder],
) -> None:
    recorder = make_recorder()
    recorder.record(FIRST, *CREATED)
    wait_for(lambda: events(recorder, FIRST, Sampled))
    recorder.collectors.choose({"collectors": ("other",)})
    recorder.record(SECOND, *CREATED)
    wait_for(lambda: events(recorder, SECOND, Sampled))
    before = len(events(recorder, FIRST, Sampled))
    wait_for(lambda: len(events(recorder, FIRST, Sampled)) > before)
    recorder.finish(FIRST)
    (stopped,) = events(recorder, FIRST, CollectorStopped)
    after = len(events(recorder, FIRST, Sampled))
    assert stopped.report["samples"] == after
    time.sleep(0.2)
    assert len(events(recorder, FIRST, Sampled)) == after, "nothing after the end"
    recorder.finish(SECOND)
    names = [events(recorder, run, CollectorStarted)[0].collector for run in (FIRST, SECOND)]
    assert names == ["meter", "other"]


def test_overlapping_runs_are_written_when_their_number_doubles(
    make_recorder: Callable[[], Recorder],
) -> None:
    recorder = make_recorder()
    trials = [f"{number:032x}" for number in range(1, 6)]
    recorder.record(FIRST, *CREATED)
    for trial in trials:
        recorder.record(trial, *CREATED)
        wait_for(lambda trial=trial: events(recorder, trial, Sampled))
        recorder.finish(trial)
    recorder.finish(FIRST)
    overlaps = [
        e.facts for e in events(recorder, FIRST, FactsCollected) if e.collector == "overlap"
    ]
    assert [facts["count"] for facts in overlaps] == [1, 2, 4, 5]
    assert overlaps[-1]["runs"] == trials
    (only,) = [e.facts for e in events(recorder, trials[0], FactsCollected)]
    assert only == {"runs": [FIRST], "count": 1}


def test_a_parent_has_no_share_while_its_tags_name_it_in_an_open_run(
    make_recorder: Callable[[], Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    joules = itertools.count(1.0)
    monkeypatch.setattr(Meter, "sample", lambda _: [next(joules)])
    nested = (*CREATED[:-2], {"mlflow.parentRunId": FIRST}, CREATED[-1])
    recorder = make_recorder()

    def values(run_id: str) -> list[float]:
        return [event.values[0] for event in events(recorder, run_id, Sampled)]

    recorder.record(FIRST, *CREATED)
    wait_for(lambda: len(values(FIRST)) > 2)
    recorder.record(SECOND, *nested)
    wait_for(lambda: len(values(SECOND)) > 2)
    assert values(FIRST)[0] < values(FIRST)[1]
    assert values(FIRST)[-1] == values(FIRST)[-2]
    assert values(SECOND)[-1] - values(SECOND)[-2] == 1
    recorder.finish(SECOND)
    count = len(values(FIRST))
    wait_for(lambda: len(values(FIRST)) > count + 1)
    assert values(FIRST)[-1] > values(FIRST)[count - 1]
    recorder.finish(FIRST)


def test_same_choice_keeps_the_sampler(
    make_recorder: Callable[[], Recorder],
) -> None:
    recorder = make_recorder()
    recorder.record(FIRST, *CREATED)
    sampler_before = recorder.collectors._sampler
    recorder.collectors.choose({"collectors": ("meter",), "interval_s": 0.05})
    recorder.record(SECOND, *CREATED)
    assert recorder.collectors._sampler is sampler_before
    recorder.finish(FIRST)
    recorder.finish(SECOND)


def test_events_after_the_end_are_not_measured(
    make_recorder: Callable[[], Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_rank(monkeypatch, 0, world_size=1)
    recorder = make_recorder()
    assert "rank" in recorder.collectors.ranks
    recorder.record(FIRST, *CREATED)
    wait_for(lambda: events(recorder, FIRST, Sampled))
    recorder.finish(FIRST)
    recorder.record(FIRST, RunUpdated, "FINISHED", 1, None, None)
    recorder.state(FIRST).terminal = True
    count = len(events(recorder, FIRST, Sampled))
    recorder.record(FIRST, ParamsLogged, {"accuracy": "1"})
    recorder.record_metrics(FIRST, [Point()], None)
    time.sleep(0.3)
    assert len(events(recorder, FIRST, Sampled)) == count
    recorder.state(FIRST).terminal = False  # it is resumed
    recorder.record(FIRST, RunUpdated, "RUNNING", None, None, None)
    wait_for(lambda: len(events(recorder, FIRST, Sampled)) > count)
    recorder.finish(FIRST)


def test_rank_is_measured_from_its_first_metric(
    make_recorder: Callable[[], Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_rank(monkeypatch, 1, world_size=2)
    recorder = make_recorder()
    recorder.record(FIRST, TagsSet, {"of": "rank 1"})
    time.sleep(0.3)
    assert not events(recorder, FIRST, CollectorStarted), "a tag may come from an editor"
    recorder.record_metrics(FIRST, [Point()], None)
    wait_for(lambda: events(recorder, FIRST, Sampled))
    assert len(events(recorder, FIRST, MetricsLogged)) == 1
    recorder.finish(FIRST)


def claims(folder: Path, host: str) -> Claims:
    directory = folder / "journals"
    journals = functools.partial(JournalDirectory, directory)
    recorder: Any = SimpleNamespace(directory=directory, journals=journals, host=host)
    return bridge.CollectorBridge(recorder).claims(FIRST)


@pytest.mark.parametrize(
    ("boot_id", "second"),
    [("5445b454-f7e0-45ba-a507-82cfff709166\n", set()), (None, {"node"})],
    ids=["one machine", "two machines"],
)
def test_containers_on_one_machine_share_claims(
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


def test_context_start_and_end_are_sampled(
    make_recorder: Callable[[], Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = make_recorder()
    recorder.collectors.choose({"interval_s": 3600.0})
    monkeypatch.setattr(sampler._ActiveCollector, "extra_from_s", 0.0)
    recorder.record(FIRST, *CREATED)
    wait_for(lambda: len(events(recorder, FIRST, Sampled)) == 1)
    time.sleep(0.1)  # until the sampler waits again
    scope = contexts.Scope("training", None, FIRST)
    token = contexts.current.set(scope)
    recorder.enter_contexts(FIRST)
    wait_for(lambda: len(events(recorder, FIRST, Sampled)) == 2)
    contexts.current.reset(token)
    recorder.leave(scope, failed=False)
    wait_for(lambda: len(events(recorder, FIRST, Sampled)) == 3)
    recorder.finish(FIRST)


def test_each_run_has_the_task_of_its_thread(
    make_recorder: Callable[[], Recorder], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tasks = iter("ab")
    monkeypatch.setattr(
        bridge.workflow_threads,
        "collect",
        lambda: {"tasks": [{"engine": "dask", "task": next(tasks)}]},
    )
    recorder = make_recorder()
    recorder.record(FIRST, *CREATED)
    # Only the collector finds such facts.
    assert events(recorder, FIRST, FactsCollected) == []
    options = {"directory": tmp_path, "collectors": "meter,workflow", "interval_s": 0.05}
    recorder = Recorder(settings.load(**options))
    for run_id in (FIRST, SECOND):
        recorder.record(run_id, *CREATED)
    named = [
        event.facts["tasks"][0]["task"]
        for run_id in (FIRST, SECOND)
        for event in events(recorder, run_id, FactsCollected)
        if event.collector == WORKFLOW_FACTS  # a slow machine has samples by now, and overlaps
    ]
    assert named == ["a", "b"]
