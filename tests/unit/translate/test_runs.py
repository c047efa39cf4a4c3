"""Documents of runs: sessions, resumes, contexts, params, tags, artifacts, models."""

from __future__ import annotations

from typing import Any

import pytest
from support.builders.run_log import RUN_ID, START_S, STORE, A, B, Log

from yprov_mlflow.prov.events import (
    STORE_SESSION,
    ArtifactsLogged,
    ContextEntered,
    ContextLeft,
    FactsCollected,
    InputsLogged,
    MetricsLogged,
    ModelLogged,
    ParamsLogged,
    RunUpdated,
    SessionStarted,
    TagDeleted,
    TagsSet,
)
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.translate import BATCH, Options, SideFile, Translator, translate
from yprov_mlflow.prov.translate.artifacts import media_type


def generator(document: Document, entity: str) -> str:
    activities = [
        record["prov:activity"]
        for record in document.records["wasGeneratedBy"].values()
        if record["prov:entity"] == entity
    ]
    assert len(activities) == 1
    return str(activities[0])


def related(document: Document, section: str, first: str, second: str) -> set[tuple[str, str]]:
    return {
        (record[first], record[second])
        for record in document.records.get(section, {}).values()
        if first in record and second in record
    }


def time(second: int) -> str:
    return f"2026-01-02T03:00:{second:02}.000000+00:00"


# -- run and sessions --------------------------------------------------------------------


def test_run_times_come_from_mlflow_and_the_events() -> None:
    log = Log()
    log.add(ParamsLogged, {"a": "1"})
    log.add(RunUpdated, "FINISHED", (START_S + 2) * 1000 + 500)
    run = log.document().records["activity"]["run:run"]
    assert run["prov:startTime"] == time(0)
    assert run["prov:endTime"] == "2026-01-02T03:00:02.500000+00:00"
    assert run["mlf:status"]["$"] == "mlf:FINISHED"
    assert run["mlf:endTimeMs"] == {"$": str((START_S + 2) * 1000 + 500), "type": "xsd:long"}


def test_a_run_does_not_end_before_its_last_event() -> None:
    log = Log()
    log.add(ParamsLogged, {"a": "1"})
    log.add(RunUpdated, "FINISHED", START_S * 1000)
    assert log.document().records["activity"]["run:run"]["prov:endTime"] == time(2)


def test_an_open_run_has_no_end() -> None:
    run = Log().document().records["activity"]["run:run"]
    assert "prov:endTime" not in run
    assert run["mlf:status"]["$"] == "mlf:RUNNING"


def test_a_run_resumed_in_the_same_process_has_two_sessions() -> None:
    log = Log()
    log.add(RunUpdated, "FINISHED", START_S * 1000)
    log.add(RunUpdated, "RUNNING")
    log.add(ParamsLogged, {"a": "1"})
    log.add(RunUpdated, "KILLED", START_S * 1000)
    document = log.document()
    sessions = [i for i in document.records["activity"] if "session" in i]
    assert sessions == ["run:session/1", "run:session/2"]
    informed = related(document, "wasInformedBy", "prov:informed", "prov:informant")
    assert informed == {("run:session/2", "run:session/1")}
    assert ("run:run", "run:param/a") in related(document, "used", "prov:activity", "prov:entity")
    states = [document.records["activity"][s]["mlf:status"]["$"] for s in sessions]
    assert states == ["mlf:FINISHED", "mlf:KILLED"]


def test_a_resuming_session_starts_with_its_own_first_event() -> None:
    log = Log()
    log.add(RunUpdated, "FAILED", START_S * 1000)
    log.add(SessionStarted, {}, session=B)
    log.add(RunUpdated, "RUNNING", session=B)
    log.metric("m", 1.0, session=B)
    document = log.document()
    assert document.records["activity"]["run:session/2"]["prov:startTime"] == time(3)
    assert generator(document, "run:metric/@run/m/0") == "run:session/2"
    assert "run:session/post-1" not in document.records["activity"]


def test_process_among_others_has_one_session_for_each_of_its_resumes() -> None:
    log = Log()
    for number in range(5):
        other = f"{number}" * 16
        log.add(SessionStarted, {}, session=other)
        log.add(RunUpdated, "RUNNING", session=other)
        log.metric("m", 1.0, session=other)
        log.metric("m", 2.0)  # of a process that goes on while others end and resume the run
        log.add(RunUpdated, "FINISHED", (START_S + int(log.second)) * 1000, session=other)
        log.metric("m", 3.0)
    log.add(RunUpdated, "RUNNING")
    log.add(RunUpdated, "FINISHED", (START_S + int(log.second)) * 1000)
    sessions = [
        record["mlf:token"]
        for i, record in log.document().records["activity"].items()
        if i.startswith("run:session/")
    ]
    assert sorted(sessions) == sorted([A, *(f"{number}" * 16 for number in range(5))])


def test_events_after_the_end_have_a_session_of_their_own() -> None:
    log = Log()
    log.add(RunUpdated, "FINISHED", START_S * 1000 + 1)
    log.add(TagsSet, {"late": "x"})
    log.metric("m", 1.0)
    document = log.document()
    assert generator(document, "run:tag/late/1") == "run:session/post-1"
    assert generator(document, "run:metric/@run/m/0") == "run:session/post-1"
    post = document.records["activity"]["run:session/post-1"]
    assert (post["prov:startTime"], post["prov:endTime"]) == (time(3), time(4))
    assert document.records["activity"]["run:run"]["prov:endTime"] < time(3)


def test_ranks_write_disjoint_ids() -> None:
    log = Log()
    log.add(SessionStarted, {"rank": 1}, session=B)
    for session in (A, B):
        log.metric("loss", 1.0, session=session)
        log.add(ContextEntered, ("t",), session=session)
    entities = log.document().records["entity"]
    assert {"run:metric/@run/loss/0", "run:metric/@run/loss@r1/0"} <= set(entities)
    activities = log.document().records["activity"]
    assert {"run:session/1", "run:session/1.r1", "run:context/t", "run:context/t@r1"} <= set(
        activities
    )


def test_a_nested_run_is_part_of_its_parent() -> None:
    document = Log({"mlflow.parentRunId": "f" * 32}).document()
    assert document.prefixes["parent"] == "urn:uuid:ffffffff-ffff-ffff-ffff-ffffffffffff#"
    parts = document.records["activity"]["run:run"]["dcterms:isPartOf"]
    assert [part["$"] for part in parts] == ["store:experiment/1", "parent:run"]
    assert ("run:run", "parent:run") in related(
        document, "wasStartedBy", "prov:activity", "prov:starter"
    )


def test_deletion_ends_the_record_and_restoration_adds_another() -> None:
    log = Log()
    for lifecycle in ("deleted", "deleted", "active", "purged"):
        log.add(RunUpdated, None, None, None, lifecycle)
    document = log.document()
    ended = [r["prov:entity"] for r in document.records["wasInvalidatedBy"].values()]
    assert ended == ["run:record/1", "run:record/2", "run:record"]
    revised = related(document, "wasDerivedFrom", "prov:generatedEntity", "prov:usedEntity")
    assert ("run:record/2", "run:record/1") in revised


def test_facts_of_a_session() -> None:
    log = Log(mlflow="3.17.2")
    packages = {"scikit_learn": "1.4", "torch": "2.1+cu118"}
    log.add(FactsCollected, "environment", {"python": "3.11", "packages": packages})
    log.add(FactsCollected, "git", {"commit": "c0ffee", "dirty": True, "novel": 1})
    log.add(FactsCollected, "host", {"os": "Linux", "cpu_count": 8})
    document = log.document()
    (environment,) = (e for e in document.records["entity"].values() if "mlf:packages" in e)
    assert environment["mlf:packages"] == "scikit_learn==1.4\ntorch==2.1+cu118"
    plans = {r.get("prov:plan") for r in document.records["wasAssociatedWith"].values()} - {None}
    (plan,) = plans
    assert document.records["entity"][plan]["mlf:facts"] == '{"novel":1}'
    hosts = [e for i, e in document.records["entity"].items() if i.startswith("store:host/")]
    assert [host["mlf:cpuCount"]["$"] for host in hosts] == ["8"]


def test_login_names_are_hashed_everywhere() -> None:
    log = Log({"mlflow.user": "alice"}, mlflow="3.17.2")
    assert "alice" in str(log.document().to_json_object())
    assert "alice" not in str(log.document(hash_user=True).to_json_object())


def test_a_base_uri_gives_ids_for_publishing() -> None:
    prefixes = Log().document(base_uri="https://example.org/prov/").prefixes
    assert prefixes["run"].startswith("https://example.org/prov/run/3f2c0a4e-1111-4222-8333-")
    assert prefixes["store"] == f"https://example.org/prov/store/{STORE['uuid']}#"


# -- params, tags, metrics ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("3", {"$": "3", "type": "xsd:int"}),
        ("0.01", {"$": "0.01", "type": "xsd:double"}),
        ("True", {"$": "true", "type": "xsd:boolean"}),
        ("-inf", {"$": "-INF", "type": "xsd:double"}),
        ("9" * 30, {"$": "9" * 30, "type": "xsd:integer"}),
        ("1e-3", "1e-3"),
        ("007", "007"),
        ("1_000", "1_000"),
        ("true", "true"),
        ("x" * 6000, "x" * 6000),
    ],
)
def test_params_have_typed_values_if_their_text_is_canonical(raw: str, value: object) -> None:
    log = Log()
    log.add(ParamsLogged, {"a/b: c": raw})
    log.add(ParamsLogged, {"a/b: c": raw})
    entity = log.document().records["entity"]["run:param/a%2Fb%3A%20c"]
    assert (entity["prov:value"], entity["mlf:text"]) == (value, raw)
    assert entity["schema:name"] == "a/b: c"


def test_similar_keys_are_not_merged() -> None:
    log = Log()
    log.add(ParamsLogged, {"a_b": "1", "a.b": "2", "a b": "3", "a/b": "4", "a%20b": "5"})
    entities = log.document().records["entity"]
    assert sum(identifier.startswith("run:param/") for identifier in entities) == 5


def test_a_tag_has_a_history() -> None:
    log = Log()
    log.add(TagsSet, {"k": "a"})
    log.add(TagsSet, {"k": "a"})
    log.add(TagsSet, {"k": "b"})
    log.add(TagDeleted, "k")
    log.add(TagDeleted, "k")
    log.add(TagsSet, {"k": "c"})
    document = log.document()
    values = {
        i: e["prov:value"]
        for i, e in document.records["entity"].items()
        if i.startswith("run:tag/k/")
    }
    assert values == {"run:tag/k/1": "a", "run:tag/k/2": "b", "run:tag/k/3": "c"}
    ended = {
        r["prov:entity"]: r["prov:time"] for r in document.records["wasInvalidatedBy"].values()
    }
    assert ended == {"run:tag/k/1": time(4), "run:tag/k/2": time(5)}


def test_points_are_generated_by_the_innermost_activity() -> None:
    log = Log()
    log.add(ContextEntered, ("t",))
    log.add(ContextEntered, ("t", 0))
    log.metric("m", 0.0, "t", 0)
    log.add(ContextLeft, ("t", 0))
    log.metric("m", 1.0, "t", 0, second=6)
    log.add(ContextEntered, ("t", 0))
    log.metric("m", 2.0, "t", 0)
    log.add(RunUpdated, "FINISHED", START_S * 1000)
    document = log.document()
    generators = [generator(document, f"run:metric/t/m/{n}") for n in range(3)]
    assert generators == ["run:context/t/epoch/0", "run:context/t", "run:context/t/epoch/0@2"]
    assert generator(document, "run:metric/t/m") == "run:context/t"
    activities = document.records["activity"]
    assert activities["run:context/t"]["prov:endTime"] == time(8)
    assert activities["run:context/t/epoch/0"]["dcterms:isPartOf"]["$"] == "run:context/t"


def test_point_that_a_queue_writes_late_is_generated_by_its_own_epoch() -> None:
    log = Log()
    for epoch in range(2):
        log.add(ContextEntered, (epoch,))
        log.add(ContextLeft, (epoch,))
    log.metric("m", 0.0, 0, second=2)
    log.metric("m", 1.0, 1, second=4)
    log.metric("m", 2.0, 1, second=2)  # not in the time of its epoch
    document = log.document()
    generators = [generator(document, f"run:metric/@run/m/{n}") for n in range(3)]
    assert generators == ["run:epoch/0", "run:epoch/1", "run:session/1"]
    generations = document.records["wasGeneratedBy"].values()
    times = {r["prov:entity"]: r.get("prov:time") for r in generations}
    # The timestamp counts; it is never outside the epoch.
    assert [times[f"run:metric/@run/m/{n}"] for n in range(2)] == [time(2), time(4)]


def test_a_series_has_statistics_of_all_its_points() -> None:
    log = Log()
    at = [START_S * 1000] * 4
    log.add(MetricsLogged, ["m"] * 4, [3.0, float("nan"), 1.0, 2.0], at, [5, 1, 0, 2])
    series = log.document().records["entity"]["run:metric/@run/m"]
    statistics = {k: series[f"mlf:{k}"]["$"] for k in ("count", "first", "last", "min", "max")}
    assert statistics == {"count": "4", "first": "1.0", "last": "3.0", "min": "1.0", "max": "3.0"}
    assert series["mlf:nanCount"]["$"] == "1"


@pytest.mark.parametrize("models", ["ab", " ab", "aab", " abba"])
def test_a_point_that_is_repeated_for_models_is_one_measurement(models: str) -> None:
    log = Log()
    for model in models:
        names = [f"m-{model}"] if model != " " else None
        log.add(MetricsLogged, ["loss"], [0.5], [START_S * 1000], [3], (), None, names)
    document = log.document()
    [sample] = [
        e for i, e in document.records["entity"].items() if i.startswith("run:metric/@run/loss/")
    ]
    named = {model["$"] for model in sample["mlf:model"]}
    assert named == {"store:logged-model/m-a", "store:logged-model/m-b"}


class Sink:
    def __init__(self) -> None:
        self.sizes: list[int] = []

    def write(self, batch: Any) -> None:
        self.sizes.append(len(batch.series))

    def close(self) -> SideFile:
        return SideFile("metrics.parquet", "f" * 64, 7, "application/vnd.apache.parquet")


def test_many_points_go_to_the_sink_in_bounded_batches() -> None:
    sink = Sink()
    log = Log()
    translator = Translator(Options(max_samples=10), sink)
    for event in log.events:
        translator.feed(event)
    count = 150_000
    for i in range(0, count, 100):
        columns = ["m"] * 100, [0.5] * 100, [START_S * 1000] * 100, list(range(i, i + 100))
        time_ns = (START_S + 9) * 10**9 + i
        translator.feed(MetricsLogged(RUN_ID, A, i + 2, time_ns, *columns))
    document = translator.finish()
    assert sum(sink.sizes) == count
    assert max(sink.sizes) < 66_000
    file = f"run:points/{'f' * 64}"
    assert document.records["entity"][file]["mlf:size"]["$"] == "7"
    assert document.records["entity"]["run:metric/@run/m"]["mlf:points"]["$"] == file
    assert "run:metric/@run/m/0" not in document.records["entity"]


def test_points_up_to_the_limit_of_samples_do_not_go_to_the_sink() -> None:
    sink = Sink()
    translator = Translator(Options(max_samples=BATCH), sink)
    columns = ["m"] * BATCH, [0.5] * BATCH, [START_S * 1000] * BATCH, list(range(BATCH))
    translator.feed(MetricsLogged(RUN_ID, A, 0, START_S * 10**9, *columns))
    entities = translator.finish().records["entity"]
    assert sink.sizes == []
    assert f"run:metric/@run/m/{BATCH - 1}" in entities


# -- data, artifacts, models -------------------------------------------------------------


def file(path: str, sha256: str | None = "0" * 64) -> dict[str, object]:
    return {"path": path, "size": 3, "sha256": sha256}


def test_overwriting_an_artifact_adds_a_version() -> None:
    log = Log()
    log.add(ArtifactsLogged, [file("plots/ä b.png")])
    log.add(ArtifactsLogged, [file("plots/ä b.png")])
    log.add(ArtifactsLogged, [file("plots/ä b.png", "1" * 64)])
    log.add(ArtifactsLogged, [file("plots")], None, (), True)
    document = log.document()
    first = "run:artifact/plots%2F%C3%A4%20b.png"
    entities = document.records["entity"]
    assert {i for i in entities if i.startswith("run:artifact/")} == {first, f"{first}/2"}
    assert entities[first]["schema:encodingFormat"] == "image/png"
    ended = {
        r["prov:entity"]: r["prov:time"] for r in document.records["wasInvalidatedBy"].values()
    }
    assert ended == {first: time(4), f"{first}/2": time(5)}
    members = related(document, "hadMember", "prov:collection", "prov:entity")
    assert ("run:folder/plots", first) in members


def test_media_types_do_not_depend_on_the_machine() -> None:
    assert media_type("a/b.PNG") == "image/png"
    assert media_type("model/MLmodel") == "application/yaml"
    assert media_type("weights.unheard") is None


def test_a_model_derives_from_the_inputs_of_its_run() -> None:
    log = Log()
    for name, purpose in (("iris", "training"), ("held out", "test")):
        tags = {"mlflow.data.context": purpose}
        log.add(InputsLogged, [{"name": name, "digest": "d", "tags": tags}], ["m-0"])
    fields = ("clf", None, "PENDING", "1", "file:///m", START_S * 1000, {"depth": "3"}, {})
    log.add(ModelLogged, "m-1", *fields)
    log.add(ModelLogged, "m-1", None, None, "READY")
    log.add(ArtifactsLogged, [file("MLmodel")], ("model", "m-1"))
    document = log.document()
    model = "store:logged-model/m-1"
    origins = [
        (record["prov:usedEntity"], record["prov:type"]["$"])
        for record in document.records["wasDerivedFrom"].values()
        if record["prov:generatedEntity"] == model
    ]
    kinds = [kind for _, kind in origins]
    assert kinds == ["mlf:TrainedOn"]
    assert document.records["entity"][origins[0][0]]["schema:name"] == "iris"
    assert document.records["entity"][model]["mlf:status"]["$"] == "mlf:READY"
    assert f"{model}/artifact/MLmodel" in document.records["entity"]
    assert document.records["entity"][f"{model}/param/depth"]["prov:value"]["$"] == "3"


def test_equal_datasets_have_one_id_in_all_runs() -> None:
    def datasets(run_id: str) -> set[str]:
        event = InputsLogged(run_id, A, 0, START_S * 10**9, [{"name": "iris", "digest": "d"}])
        return {i for i in translate([event]).records["entity"] if i.startswith("sha256:")}

    assert datasets("1" * 32) == datasets("2" * 32)


def test_events_read_from_a_store_have_no_time() -> None:
    log = Log()
    log.add(ParamsLogged, {"a": "1"}, session=STORE_SESSION)
    log.add(TagsSet, {"k": "v"}, session=STORE_SESSION)
    document = log.document()
    assert generator(document, "run:tag/k/1") == "run:run"
    used = [r for r in document.records["used"].values() if r["prov:entity"] == "run:param/a"]
    assert [(r["prov:activity"], "prov:time" in r) for r in used] == [("run:run", False)]
    assert not any("store" in i for i in document.records["activity"])
