"""Hostile trees do nothing but an error: nothing runs, nothing outside is read, all is bounded."""

from __future__ import annotations

import os
import tracemalloc

import pytest
from readings import Reading
from trees import RUN, Tree, describe, put

from yprov_mlflow.prov.events import (
    ArtifactsLogged,
    InputsLogged,
    MetricsLogged,
    RunCreated,
    StoreCalled,
)
from yprov_mlflow.prov.sources import open_source

SECRET = "the secret"


@pytest.fixture
def tree(tmp_path):
    said = f"user_id: x\nname: {SECRET}\nstatus: {SECRET}\n"
    put(tmp_path / "outside", {"secret": SECRET, "deep/secret": SECRET, "meta.yaml": said})
    return Tree(tmp_path / "mlruns")


def everything(found):
    return repr([found.runs, found.store, found.refs])


# -- YAML --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.system ['touch {there}']",
        "!!python/object/new:subprocess.Popen [['touch', '{there}']]",
        "!!python/name:os.system",
    ],
)
def test_tags_of_yaml_run_nothing(tree, tmp_path, tag):
    folder = tree.run()
    there = tmp_path / "there"
    with (folder / "meta.yaml").open("a") as file:
        file.write(f"extra: {tag.format(there=there)}\n")
    found = Reading(tree.root)
    assert not there.exists()
    assert found.one(RunCreated).user_id == "alice"
    assert "is not YAML" in found.reasons("meta.yaml")[0]


def test_aliases_that_stand_for_billions_are_refused(tree):
    folder = tree.run()
    laughs = "a: &a [x,x,x,x,x,x,x,x,x]\n"
    for one, other in zip("abcdefghi", "bcdefghij", strict=True):
        laughs += f"{other}: &{other} [*{one},*{one},*{one},*{one},*{one},*{one},*{one},*{one}]\n"
    (folder / "meta.yaml").write_text(laughs)
    found = Reading(tree.root)
    assert "more values, or more in one another" in found.reasons("meta.yaml")[0]


@pytest.mark.parametrize("content", ["[" * 100_000, "{a: " * 100_000, "a: " + "- " * 100_000])
def test_depths_without_end_are_refused(tree, content):
    folder = tree.run(params={"a": "1"})
    (folder / "meta.yaml").write_text(content)
    assert Reading(tree.root).params() == {"a": "1"}


def test_values_of_any_kind_in_any_place_do_no_harm(tree):
    values = [[1], {"a": {"b": [2]}}, True, 1.5, float("nan"), "x" * 100_000, -(10**400), None]
    keys = "run_id run_uuid experiment_id run_name user_id start_time status artifact_uri".split()
    keys += ["lifecycle_stage", "tags", "source_type", "end_time"]
    for i, value in enumerate(values):
        for j, key in enumerate(keys):
            tree.run(f"{RUN[:30]}{i:x}{j:x}", meta={key: value})
    describe(tree.root / "models/net/meta.yaml", name=[1], aliases=[2], tags=[3], version={})
    describe(tree.root / "models/net/version-1/meta.yaml", name={}, version=[1], current_stage=[])
    describe(tree.root / "0/models/m-1/meta.yaml", model_id=[], status=[], source_run_id={"a": 1})
    trace = tree.root / "0/traces/tr-1"
    describe(trace / "trace_info.yaml", trace_id=[1], request_time=[], assessments=[[], {}])
    describe(trace / "assessments/a-1.yaml", assessment_id={"a": []}, create_time=[], expectation=1)
    put(
        trace / "artifacts", {"traces.json": '{"spans": [1, {}, {"context": {}, "attributes": 3}]}'}
    )
    found = Reading(tree.root)
    assert len(found.refs) == len(values) * len(keys)


# -- ways out ----------------------------------------------------------------------------


def test_links_out_of_the_tree_are_not_followed(tree, tmp_path):
    outside = tmp_path / "outside"
    folder = tree.run(params={"a": "1"}, metrics={"m": [(1, 2.0, 3)]})
    (folder / "params" / "leak").symlink_to(outside / "secret")
    (folder / "metrics" / "leak").symlink_to(outside / "secret")
    (folder / "artifacts" / "leak").symlink_to(outside)
    (folder / "tags").rmdir()
    (folder / "tags").symlink_to(outside)
    (tree.root / "5").symlink_to(outside)
    (tree.root / "0" / "models").symlink_to(outside)
    other = tree.run(2)
    for described in (other, tree.experiment("6")):
        (described / "meta.yaml").unlink()
        (described / "meta.yaml").symlink_to(outside / "meta.yaml")
    found = Reading(tree.root)
    assert SECRET not in everything(found)
    assert found.params(folder) == {"a": "1"}
    assert found.one(RunCreated, other).user_id is None
    places = [p.place for p in found.problems if "leads out of the tree" in p.reason]
    assert len(set(places)) == 8
    # That of an experiment is met as a description and as a file of its folder.
    assert len(places) == 9


def test_links_in_the_tree_are_followed_and_loops_are_not(tree):
    folder = tree.run(params={"a": "1"}, artifacts={"best/x": "x"})
    (folder / "params" / "b").symlink_to("a")
    artifacts = folder / "artifacts"
    (artifacts / "latest").symlink_to("best")
    (artifacts / "again").symlink_to("best")
    (artifacts / "loop").symlink_to("..")
    (artifacts / "self").symlink_to("self")
    (artifacts / "gone").symlink_to("nowhere")
    (artifacts / "best" / "up").symlink_to("../../artifacts")
    (tree.root / "0" / "tags").rmdir()
    (tree.root / "0" / "tags").symlink_to(f"../0/{folder.name}/params")
    found = Reading(tree.root)
    assert found.params() == {"a": "1", "b": "1"}
    (event,) = found.all(ArtifactsLogged)
    assert sorted(file["path"] for file in event.files) == ["again/x", "best/x"]
    assert found.calls("create_experiment")[0].arguments["tags"] == {"a": "1", "b": "1"}
    told = {os.path.basename(p.place) for p in found.problems}
    assert told == {"latest", "loop", "self", "gone", "up"}


def test_ways_upwards_in_descriptions_lead_nowhere(tree, tmp_path):
    folder = tree.run(
        1,
        artifact_uri=f"../../outside/../outside/{RUN}1/artifacts",
        run_id="../../../outside",
        experiment_id="../outside",
    )
    (folder / "artifacts").rmdir()
    tree.experiment("1", meta={"experiment_id": "../../outside"})
    tree.run(2, experiment="1", artifact_uri="file:///etc")
    (tree.root / "1" / f"{RUN}2" / "artifacts").rmdir()
    linked = {"source_type": "DATASET", "source_id": "../../../outside"}
    describe(folder / "inputs/i0/meta.yaml", **linked)
    (tree.root / "0/datasets").mkdir()
    put(tree.root / "models/net/aliases", {"champion": "../../x"})
    describe(tree.root / "models/net/meta.yaml", name="../../outside")
    found = Reading(tree.root)
    assert SECRET not in everything(found)
    assert [(ref.experiment_id, ref.run_id) for ref in found.refs] == [
        ("0", f"{RUN}1"),
        ("1", f"{RUN}2"),
    ]
    assert found.all(ArtifactsLogged, f"{RUN}1") == found.all(ArtifactsLogged, f"{RUN}2") == []
    assert found.all(InputsLogged, f"{RUN}1") == []


def test_pipes_and_the_like_do_not_hold_us_up(tree):
    folder = tree.run(params={"a": "1"})
    for path in (folder / "params/pipe", folder / "artifacts/pipe", tree.root / "pipe"):
        os.mkfifo(path)
    other = tree.run(2)
    (other / "meta.yaml").unlink()
    os.mkfifo(other / "meta.yaml")
    found = Reading(tree.root)
    assert found.params(folder) == {"a": "1"}
    assert sum("neither a file nor a folder" in reason for reason in found.reasons()) >= 3


# -- sizes -------------------------------------------------------------------------------


def test_enormous_values_are_refused(tree):
    folder = tree.run(params={"a": "1"})
    for name in ("params/huge", "tags/huge", "meta.yaml"):
        with (folder / name).open("wb") as file:
            file.truncate(1 << 40)
    found = Reading(tree.root)
    assert found.params() == {"a": "1"}
    assert set(found.losses().values()) == {"all that is in it"}
    assert len(found.losses()) == 3


def test_an_enormous_line_of_a_metric_is_refused_in_little_memory(tree):
    folder = tree.run(metrics={"m": "1 0.5 0\n"})
    with (folder / "metrics/m").open("r+b") as file:
        file.seek(200 << 20)
        file.write(b"\n2 0.25 1\n")
    source = open_source(str(tree.root))
    (ref,) = source.runs()
    tracemalloc.start()
    events = [event for event in source.events(ref) if isinstance(event, MetricsLogged)]
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [list(event.values) for event in events] == [[0.5, 0.25]]
    assert most < 20 << 20


def test_a_long_metric_is_read_in_little_memory(tree):
    count = 300_000
    folder = tree.run()
    with (folder / "metrics/m").open("w") as file:
        file.writelines(f"{1_600_000_000_000 + i} {i / 7} {i}\n" for i in range(count))
    source = open_source(str(tree.root))
    (ref,) = source.runs()
    tracemalloc.start()
    seen = 0
    for event in source.events(ref):
        if isinstance(event, MetricsLogged):
            assert event.steps[0] == seen
            seen += len(event.values)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seen == count
    assert most < 10 << 20


def test_enormous_files_of_spans_and_odd_json_are_refused(tree):
    for name, content in (("tr-1", "[" * 200_000), ("tr-2", '{"spans": NaN}'), ("tr-3", "\xff")):
        folder = tree.root / "0/traces" / name
        describe(folder / "trace_info.yaml", trace_id=name)
        put(folder / "artifacts", {"traces.json": content})
    found = Reading(tree.root)
    assert found.calls("log_spans") == []
    assert (
        len([e for e in found.store if isinstance(e, StoreCalled) and e.method == "start_trace"])
        == 3
    )
    assert len(found.reasons("traces.json")) == 3
