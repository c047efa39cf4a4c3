"""Hostile file stores: nothing is executed, nothing outside is read, and memory is bounded."""

from __future__ import annotations

import os
import tracemalloc

import pytest
from support.builders.file_store_builder import RUN, FileStoreBuilder, write_files, write_meta
from support.readers.source_contents import SourceContents

from yprov_mlflow.prov.events import (
    ArtifactsLogged,
    InputsLogged,
    MetricsLogged,
    RunCreated,
    StoreCalled,
)
from yprov_mlflow.prov.sources import open_source
from yprov_mlflow.prov.sources.file_store.decoding import excerpt
from yprov_mlflow.prov.sources.file_store.store_files import StoreFiles
from yprov_mlflow.prov.sources.source import Problem

SECRET = "the secret"


@pytest.fixture
def tree(tmp_path):
    meta = f"user_id: x\nname: {SECRET}\nstatus: {SECRET}\n"
    write_files(tmp_path / "outside", {"secret": SECRET, "deep/secret": SECRET, "meta.yaml": meta})
    return FileStoreBuilder(tmp_path / "mlruns")


def contents(reading):
    return repr([reading.runs, reading.store, reading.refs])


def test_problems_have_no_passwords():
    problem = Problem("https://me:hush@h/x", "cannot open https://me:hush@h", "its token=hush12")
    assert "hush" not in repr(problem)


def test_password_at_the_end_of_a_text_that_is_cut_is_withheld(tree):
    files = StoreFiles(str(tree.root))
    files.report("meta.yaml", f"{'x' * 280} https://me:{'hush' * 20}@host", "its content")
    (problem,) = files.problems()
    assert problem.reason.endswith("x https://host")
    assert excerpt(f"at https://me:{'hush' * 20}@host") == "'at https://host'"


# -- YAML --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.system ['touch {path}']",
        "!!python/object/new:subprocess.Popen [['touch', '{path}']]",
        "!!python/name:os.system",
    ],
)
def test_yaml_tags_execute_nothing(tree, tmp_path, tag):
    folder = tree.run()
    path = tmp_path / "executed"
    with (folder / "meta.yaml").open("a") as file:
        file.write(f"extra: {tag.format(path=path)}\n")
    reading = SourceContents(tree.root)
    assert not path.exists()
    assert reading.single(RunCreated).user_id == "alice"
    assert "is not YAML" in reading.reasons("meta.yaml")[0]


def test_yaml_alias_bombs_are_refused(tree):
    folder = tree.run()
    laughs = "a: &a [x,x,x,x,x,x,x,x,x]\n"
    for name, next_name in zip("abcdefghi", "bcdefghij", strict=True):
        laughs += f"{next_name}: &{next_name} [{','.join([f'*{name}'] * 8)}]\n"
    (folder / "meta.yaml").write_text(laughs)
    reading = SourceContents(tree.root)
    assert "more values or deeper nesting" in reading.reasons("meta.yaml")[0]


@pytest.mark.parametrize("content", ["[" * 100_000, "{a: " * 100_000, "a: " + "- " * 100_000])
def test_deeply_nested_yaml_is_refused(tree, content):
    folder = tree.run(params={"a": "1"})
    (folder / "meta.yaml").write_text(content)
    assert SourceContents(tree.root).params() == {"a": "1"}


def test_values_of_any_type_for_any_key_are_accepted(tree):
    values = [[1], {"a": {"b": [2]}}, True, 1.5, float("nan"), "x" * 100_000, -(10**400), None]
    keys = "run_id run_uuid experiment_id run_name user_id start_time status artifact_uri".split()
    keys += ["lifecycle_stage", "tags", "source_type", "end_time"]
    for i, value in enumerate(values):
        for j, key in enumerate(keys):
            tree.run(f"{RUN[:30]}{i:x}{j:x}", meta={key: value})
    write_meta(tree.root / "models/net/meta.yaml", name=[1], aliases=[2], tags=[3], version={})
    write_meta(tree.root / "models/net/version-1/meta.yaml", name={}, version=[1], current_stage=[])
    write_meta(tree.root / "0/models/m-1/meta.yaml", model_id=[], status=[], source_run_id={"a": 1})
    trace = tree.root / "0/traces/tr-1"
    write_meta(trace / "trace_info.yaml", trace_id=[1], request_time=[], assessments=[[], {}])
    write_meta(
        trace / "assessments/a-1.yaml", assessment_id={"a": []}, create_time=[], expectation=1
    )
    write_files(
        trace / "artifacts", {"traces.json": '{"spans": [1, {}, {"context": {}, "attributes": 3}]}'}
    )
    reading = SourceContents(tree.root)
    assert len(reading.refs) == len(values) * len(keys)


# -- links and paths ---------------------------------------------------------------------


def test_links_out_of_the_store_are_not_followed(tree, tmp_path):
    outside = tmp_path / "outside"
    folder = tree.run(params={"a": "1"}, metrics={"m": [(1, 2.0, 3)]})
    (folder / "params" / "leak").symlink_to(outside / "secret")
    (folder / "metrics" / "leak").symlink_to(outside / "secret")
    (folder / "artifacts" / "leak").symlink_to(outside)
    (folder / "tags").rmdir()
    (folder / "tags").symlink_to(outside)
    (tree.root / "5").symlink_to(outside)
    (tree.root / "0" / "models").symlink_to(outside)
    linked = tree.run(2)
    for described in (linked, tree.experiment("6")):
        (described / "meta.yaml").unlink()
        (described / "meta.yaml").symlink_to(outside / "meta.yaml")
    reading = SourceContents(tree.root)
    assert SECRET not in contents(reading)
    assert reading.params(folder) == {"a": "1"}
    assert reading.single(RunCreated, linked).user_id is None
    places = [p.place for p in reading.problems if "outside the store" in p.reason]
    assert len(set(places)) == 8
    # The link of an experiment is reported both as its meta.yaml and as a file of its folder.
    assert len(places) == 9


def test_links_in_the_store_are_followed_except_loops(tree):
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
    reading = SourceContents(tree.root)
    assert reading.params() == {"a": "1", "b": "1"}
    (event,) = reading.select(ArtifactsLogged)
    assert sorted(file["path"] for file in event.files) == ["again/x", "best/x"]
    assert reading.calls("create_experiment")[0].arguments["tags"] == {"a": "1", "b": "1"}
    reported = {os.path.basename(p.place) for p in reading.problems}
    assert reported == {"latest", "loop", "self", "gone", "up"}


def test_parent_paths_in_meta_yaml_are_not_followed(tree, tmp_path):
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
    write_meta(folder / "inputs/i0/meta.yaml", **linked)
    (tree.root / "0/datasets").mkdir()
    write_files(tree.root / "models/net/aliases", {"champion": "../../x"})
    write_meta(tree.root / "models/net/meta.yaml", name="../../outside")
    reading = SourceContents(tree.root)
    assert SECRET not in contents(reading)
    assert [(ref.experiment_id, ref.run_id) for ref in reading.refs] == [
        ("0", f"{RUN}1"),
        ("1", f"{RUN}2"),
    ]
    assert (
        reading.select(ArtifactsLogged, f"{RUN}1")
        == reading.select(ArtifactsLogged, f"{RUN}2")
        == []
    )
    assert reading.select(InputsLogged, f"{RUN}1") == []


def test_pipes_do_not_block(tree):
    folder = tree.run(params={"a": "1"})
    for path in (folder / "params/pipe", folder / "artifacts/pipe", tree.root / "pipe"):
        os.mkfifo(path)
    second = tree.run(2)
    (second / "meta.yaml").unlink()
    os.mkfifo(second / "meta.yaml")
    reading = SourceContents(tree.root)
    assert reading.params(folder) == {"a": "1"}
    assert sum("neither a file nor a folder" in reason for reason in reading.reasons()) >= 3


# -- sizes -------------------------------------------------------------------------------


def test_enormous_values_are_refused(tree):
    folder = tree.run(params={"a": "1"})
    for name in ("params/huge", "tags/huge", "meta.yaml"):
        with (folder / name).open("wb") as file:
            file.truncate(1 << 40)
    reading = SourceContents(tree.root)
    assert reading.params() == {"a": "1"}
    assert set(reading.losses().values()) == {"its content"}
    assert len(reading.losses()) == 3


def test_enormous_metric_line_is_skipped_in_bounded_memory(tree):
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


def test_long_metric_is_read_in_bounded_memory(tree):
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


def test_nested_and_invalid_span_files_are_refused(tree):
    for name, content in (("tr-1", "[" * 200_000), ("tr-2", '{"spans": NaN}'), ("tr-3", "\xff")):
        folder = tree.root / "0/traces" / name
        write_meta(folder / "trace_info.yaml", trace_id=name)
        write_files(folder / "artifacts", {"traces.json": content})
    reading = SourceContents(tree.root)
    assert reading.calls("log_spans") == []
    assert (
        len([e for e in reading.store if isinstance(e, StoreCalled) and e.method == "start_trace"])
        == 3
    )
    assert len(reading.reasons("traces.json")) == 3
