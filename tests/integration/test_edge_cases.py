"""Edge cases that provenance tools often get wrong; documents are compared with MLflow's store.

Most tests share a script, which runs once for each backend, because importing MLflow is slow.
"""

from __future__ import annotations

import hashlib
import json
import math
import sqlite3
import struct
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from support.readers.documents import Point, RunDocument, literal

from integration.conftest import Sandbox
from yprov_mlflow.prov.events import MetricsLogged
from yprov_mlflow.prov.sources import open_source

ODD_KEYS = [
    "train/loss",
    "a:b",
    "x" * 250,
    "a_b",
    "a.b",
    "a b",
    "a-b",
    "ключ/Schlüssel 鍵",
    "a: b. c",
    " ",
    "UPPER",
    "upper",
]
"""Unusual names that MLflow accepts over SQLite and in the file store."""

SCRIPT = """
import json, math, sys, threading
import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

ODD_KEYS = json.loads(sys.argv[1])
results = {}
client = MlflowClient()
mlflow.set_experiment("team/a experiment: 100% ünïcode")

# two runs in threads
barrier = threading.Barrier(2)
def train(name):
    with mlflow.start_run(run_name=name) as run:
        results[name] = run.info.run_id
        barrier.wait()
        mlflow.log_param("thread", name)
        for step in range(20):
            mlflow.log_metric("shared", float(len(name) * 100 + step), step=step)
        mlflow.log_metric(f"only {name}", 1.0)
        barrier.wait()
threads = [threading.Thread(target=train, args=(name,)) for name in ("first", "second")]
[t.start() for t in threads]
[t.join() for t in threads]

# three runs in sequence
for number in range(3):
    with mlflow.start_run(run_name=f"in a row {number}") as run:
        results[f"row{number}"] = run.info.run_id
        mlflow.log_metric(f"m{number}", float(number))
        mlflow.log_param("number", number)

# nested runs
with mlflow.start_run(run_name="outer") as outer:
    results["outer"] = outer.info.run_id
    mlflow.log_metric("depth", 0.0)
    with mlflow.start_run(run_name="inner", nested=True) as inner:
        results["inner"] = inner.info.run_id
        mlflow.log_metric("depth", 1.0)
    mlflow.log_metric("after", 2.0)

# odd keys and values
import numpy
with mlflow.start_run(run_name="odd / name: ü") as run:
    results["odd"] = run.info.run_id
    for number, key in enumerate(ODD_KEYS):
        mlflow.log_metric(key, float(number), step=number, timestamp=1_700_000_000_000 + number)
        mlflow.log_param(key, f"value {number}")
        mlflow.set_tag(key, f"tag {number}")
    for step, value in enumerate((1e308, 5e-324, -1e308, 0.1, -0.0)):
        mlflow.log_metric("extreme", value, step=step)
    for step, value in enumerate((math.inf, -math.inf, math.nan)):
        mlflow.log_metric("not finite", value, step=step)
    mlflow.log_metric("far", 1.0, step=2**40)
    mlflow.log_metric("back", 1.0, step=-5)
    mlflow.log_metric("best", 0.5, step=numpy.int64(2), timestamp=numpy.int64(1_700_000_000_000))
    mlflow.log_text("dot", "x.y")
    mlflow.log_text("dash", "x-y")
    mlflow.log_text("spaced", "dir with space/ü ñ.txt")

# calls that MLflow rejects
with mlflow.start_run(run_name="rejected") as run:
    results["rejected"] = run.info.run_id
    mlflow.log_param("kept", "first")
    results["accepted"] = []
    for name, attempt in (
        ("param changed", lambda: mlflow.log_param("kept", "second")),
        ("text as metric", lambda: mlflow.log_metric("no number", "seven")),
        ("long key", lambda: mlflow.log_param("k" * 300, 1)),
        ("forbidden letter", lambda: mlflow.log_metric("bad?key", 1.0)),
        ("half of a batch", lambda: mlflow.log_params({"new": 1, "kept": "third"})),
    ):
        try:
            attempt()
            results["accepted"].append(name)
        except (MlflowException, ValueError):
            pass
    mlflow.log_param("text", "y" * 6000)
    mlflow.log_param("truncated", "z" * 7000)
    mlflow.log_params({"truncated in a batch": "z" * 7000})
    mlflow.set_tag("truncated tag", "z" * 9000)
    mlflow.log_param("kept", "first")

# resumed in the same process
with mlflow.start_run(run_name="resumed here") as run:
    results["resumed"] = run.info.run_id
    mlflow.log_metric("loss", 3.0, step=0)
with mlflow.start_run(run_id=results["resumed"]):
    mlflow.log_metric("loss", 2.0, step=1)

# failed, killed, deleted
try:
    with mlflow.start_run(run_name="failed") as run:
        results["failed"] = run.info.run_id
        mlflow.log_metric("loss", 1.0)
        raise RuntimeError("the training broke")
except RuntimeError:
    pass
with mlflow.start_run(run_name="deleted") as run:
    results["deleted"] = run.info.run_id
    mlflow.log_metric("loss", 1.0)
client.delete_run(results["deleted"])
with mlflow.start_run(run_name="deleted while open") as run:
    results["deleted_open"] = run.info.run_id
    mlflow.log_metric("before", 1.0)
    client.delete_run(run.info.run_id)
    try:
        mlflow.log_metric("after", 1.0)
        results["logged_after_deletion"] = True
    except MlflowException:
        results["logged_after_deletion"] = False
    client.restore_run(run.info.run_id)

# a metric logged again with a model
with mlflow.start_run(run_name="model metrics") as run:
    results["model_metrics"] = run.info.run_id
    model = mlflow.initialize_logged_model("m")
    results["model"] = model.model_id
    for step in (0, 2, 1):
        mlflow.log_metric("acc", step / 2, step=step, timestamp=1_700_000_000_000)
        mlflow.log_metric(
            "acc", step / 2, step=step, timestamp=1_700_000_000_000, model_id=model.model_id
        )
    mlflow.finalize_logged_model(model.model_id, "READY")

# artifacts
import pathlib
with mlflow.start_run(run_name="artifacts") as run:
    results["artifacts"] = run.info.run_id
    folder = pathlib.Path("to log")
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    (folder / "sub" / "b.bin").write_bytes(bytes(range(256)) * 64)
    (folder / "empty").write_text("")
    mlflow.log_artifacts(str(folder))
    mlflow.log_artifacts(str(folder), "into")
    mlflow.log_dict({"k": [1, None]}, "conf/d.json")
    mlflow.log_text("tëxt", "t.txt")
    mlflow.log_text("changed", "t.txt")

# datasets, tags and their history
import pandas as pd
with mlflow.start_run(run_name="data", tags={"stage": "draft"}) as run:
    results["data"] = run.info.run_id
    frame = pd.DataFrame({"x": [1.0, 2.0], "y": [0, 1]})
    data = mlflow.data.from_pandas(frame, source="https://example.org/d.csv", name="rows")
    mlflow.log_input(data, context="training")
    results["digest"] = data.digest
    mlflow.set_tag("stage", "review")
    mlflow.set_tag("stage", "final")
    mlflow.set_tag("gone", "x")
    mlflow.delete_tag("gone")
    mlflow.set_tag("gone", "back")
    mlflow.delete_tag("gone")
print(json.dumps(results))
"""


class Case:
    """The script's results on a backend: ids of runs by name, and some observations."""

    def __init__(self, sandbox: Sandbox, uri: str, results: dict[str, Any]) -> None:
        self.sandbox = sandbox
        self.uri = uri
        self.results = results
        self.client = MlflowClient(tracking_uri=uri)
        self._documents: dict[str, RunDocument] = {}

    def document(self, name: str) -> RunDocument:
        if name not in self._documents:
            self._documents[name] = RunDocument.fetch(self.results[name], self.uri)
        return self._documents[name]


@pytest.fixture(scope="module", params=["sqlite", "file"])
def case(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    empty_database: Path,
) -> Case:
    sandbox = Sandbox(tmp_path_factory.mktemp(request.param), empty_database)
    uri = sandbox.sqlite if request.param == "sqlite" else sandbox.files
    done = sandbox.train(SCRIPT, f"yprov+{uri}", json.dumps(ODD_KEYS))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        return Case(sandbox, uri, done.json)


def history(case: Case, run_id: str, key: str) -> list[Point]:
    metrics = case.client.get_metric_history(run_id, key)
    return sorted(Point(m.step, m.timestamp, m.value) for m in metrics)


def bitwise_equal(first: list[Point], second: list[Point]) -> bool:
    """Return whether all points are the same, where NaN equals NaN and -0.0 differs from 0.0."""

    def bits(points: list[Point]) -> list[tuple[int, int, bytes]]:
        return sorted((p.step, p.timestamp_ms, struct.pack("<d", p.value)) for p in points)

    return bits(first) == bits(second)


def assert_complete(case: Case, document: RunDocument, *, skip: tuple[str, ...] = ()) -> None:
    """Check that a document has exactly the contents of the run, but for points of ``skip``."""
    run = case.client.get_run(document.run_id)
    assert document.params == run.data.params
    assert set(document.points) == set(run.data.metrics)
    for key in run.data.metrics:
        if key not in skip:
            expected = history(case, document.run_id, key)
            assert bitwise_equal(document.points[key], expected), key
    assert document.counts() == {key: len(points) for key, points in document.points.items()}
    for key, value in run.data.tags.items():
        if key != "mlflow.user":
            assert document.tags[key] == value
    assert document.status == run.info.status
    assert document.name == run.info.run_name


@pytest.mark.parametrize("name", ["first", "second"])
def test_runs_in_parallel_threads_have_separate_documents(case: Case, name: str) -> None:
    document = case.document(name)
    assert_complete(case, document)
    assert document.params == {"thread": name}
    assert document.values("shared") == [len(name) * 100.0 + step for step in range(20)]
    assert set(document.points) == {"shared", f"only {name}"}


@pytest.mark.parametrize("number", range(3))
def test_consecutive_runs_have_separate_documents(case: Case, number: int) -> None:
    document = case.document(f"row{number}")
    assert_complete(case, document)
    assert set(document.points) == {f"m{number}"}
    assert document.params == {"number": str(number)}


def test_nested_run_and_parent_have_separate_documents(case: Case) -> None:
    outer, inner = case.document("outer"), case.document("inner")
    assert_complete(case, outer)
    assert_complete(case, inner)
    assert outer.values("depth") == [0.0]
    assert outer.values("after") == [2.0]
    assert inner.values("depth") == [1.0]


def test_nested_run_was_started_by_its_parent(case: Case) -> None:
    inner = case.document("inner")
    prov = inner.as_prov()
    parent = f"urn:uuid:{_uuid(case.results['outer'])}#run"
    child = f"urn:uuid:{_uuid(case.results['inner'])}#run"
    starters = {
        (str(start.args[0].uri), str(start.args[2].uri))
        for start in prov.get_records()
        if type(start).__name__ == "ProvStart" and start.args[2] is not None
    }
    assert (child, parent) in starters


def _uuid(run_id: str) -> str:
    import uuid

    return str(uuid.UUID(run_id))


@pytest.mark.parametrize("key", ODD_KEYS, ids=lambda key: key[:12])
def test_odd_keys_are_kept_unchanged_and_distinct(case: Case, key: str) -> None:
    document = case.document("odd")
    number = ODD_KEYS.index(key)
    assert document.points[key] == [Point(number, 1_700_000_000_000 + number, float(number))]
    assert document.params[key] == f"value {number}"
    assert document.tags[key] == f"tag {number}"


def test_run_with_odd_keys_has_no_other_params_or_artifacts(case: Case) -> None:
    document = case.document("odd")
    assert_complete(case, document, skip=("not finite", "extreme", "best"))
    assert len(document.params) == len(ODD_KEYS)
    assert {"x.y", "x-y", "dir with space/ü ñ.txt"} <= set(document.artifacts)
    assert document.artifacts["x.y"] != document.artifacts["x-y"]
    document.as_prov()


def test_metric_values_are_bitwise_equal(case: Case) -> None:
    document = case.document("odd")
    packed = [struct.pack("<d", value) for value in document.values("extreme")]
    assert packed == [struct.pack("<d", v) for v in (1e308, 5e-324, -1e308, 0.1, -0.0)]
    first, second, third = document.values("not finite")
    assert (first, second) == (math.inf, -math.inf)
    assert math.isnan(third)
    assert document.points["far"][0].step == 2**40
    assert document.points["back"][0].step == -5


def test_numpy_integers_as_step_and_timestamp(case: Case) -> None:
    # SQLite stores numpy integers as blobs, which the conversion must decode.
    document = case.document("odd")
    assert document.points["best"] == [Point(2, 1_700_000_000_000, 0.5)]
    with closing(open_source(case.uri)) as source:
        [ref] = [ref for ref in source.runs() if ref.run_id == document.run_id]
        logged = [e for e in source.events(ref) if isinstance(e, MetricsLogged)]
    [best] = [event for event in logged if "best" in event.keys]
    assert [*best.steps, *best.timestamps_ms, *best.values] == [2, 1_700_000_000_000, 0.5]


def test_experiment_name_with_a_slash(case: Case) -> None:
    [experiment] = case.document("odd").of_type("mlf:Experiment").values()
    assert literal(experiment["schema:name"]) == "team/a experiment: 100% ünïcode"


def test_rejected_calls_are_not_recorded(case: Case) -> None:
    document = case.document("rejected")
    assert case.results["accepted"] == []
    assert_complete(case, document)
    assert document.params["kept"] == "first"
    assert document.params["text"] == "y" * 6000
    assert not document.points


def test_truncated_values_are_recorded_as_mlflow_stores_them(case: Case) -> None:
    document = case.document("rejected")
    stored = case.client.get_run(document.run_id).data
    for key in ("truncated", "truncated in a batch"):
        assert document.params[key] == stored.params[key] == "z" * 6000
    assert document.tags["truncated tag"] == stored.tags["truncated tag"]


def test_run_resumed_in_same_process(case: Case) -> None:
    document = case.document("resumed")
    assert_complete(case, document)
    assert document.values("loss") == [3.0, 2.0]


def test_failed_run_has_status_and_end_time(case: Case) -> None:
    document = case.document("failed")
    assert_complete(case, document)
    assert document.status == "FAILED"
    assert "prov:endTime" in document.run


def test_deleted_run_has_document_after_restore(case: Case) -> None:
    case.client.restore_run(case.results["deleted"])
    try:
        document = case.document("deleted")
        assert document.values("loss") == [1.0]
        assert document.status == "FINISHED"
    finally:
        case.client.delete_run(case.results["deleted"])


def test_run_deleted_while_open_keeps_earlier_metrics(case: Case) -> None:
    document = case.document("deleted_open")
    assert document.values("before") == [1.0]
    assert ("after" in document.points) == case.results["logged_after_deletion"]
    assert document.of_type("mlf:StoreOperation")


def test_same_point_logged_with_and_without_model(case: Case) -> None:
    document = case.document("model_metrics")
    assert_complete(case, document, skip=("acc",))
    samples = document.of_type("mlf:MetricSample").values()
    of_model = [s for s in samples if "mlf:model" in s]
    # Logged again with the id of a model, a point is one measurement with a link to the model.
    assert sorted(literal(s["mlf:step"]) for s in samples) == [0, 1, 2]
    assert sorted((literal(s["mlf:step"]), literal(s["prov:value"])) for s in of_model) == [
        (0, 0.0),
        (1, 0.5),
        (2, 1.0),
    ]
    assert case.client.get_run(document.run_id).data.metrics["acc"] == 1.0
    assert list(document.models) == [case.results["model"]]


def test_artifact_hashes_match_stored_files(case: Case, tmp_path: Path) -> None:
    document = case.document("artifacts")
    target = tmp_path / "downloaded"
    target.mkdir()
    case.client.download_artifacts(document.run_id, "", str(target))
    hashes = {
        str(path.relative_to(target)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in target.rglob("*")
        if path.is_file() and path.relative_to(target).parts[0] != "provenance"
    }
    assert document.artifacts == hashes
    assert set(hashes) == {
        *("a.txt", "sub/b.bin", "empty", "into/a.txt", "into/sub/b.bin", "into/empty"),
        *("conf/d.json", "t.txt"),
    }


def test_overwritten_artifact_has_two_versions(case: Case) -> None:
    versions = case.document("artifacts").artifact_versions("t.txt")
    expected = [hashlib.sha256(text.encode()).hexdigest() for text in ("tëxt", "changed")]
    assert sorted(versions) == sorted(expected)


def test_tag_history_has_all_values(case: Case) -> None:
    document = case.document("data")
    assert_complete(case, document)
    assert document.tag_history("stage") == ["draft", "review", "final"]
    assert document.tag_history("gone") == ["x", "back"]
    assert "gone" not in document.tags


def test_dataset_has_name_digest_source_and_context(case: Case) -> None:
    document = case.document("data")
    data = document.datasets["rows"]
    assert literal(data["mlf:digest"]) == case.results["digest"]
    assert "https://example.org/d.csv" in literal(data["mlf:source"])
    usages = json.dumps(document.relations("used"))
    assert "training" in usages


def test_backend_stores_no_yprov_uri(case: Case) -> None:
    if case.uri.startswith("sqlite"):
        with closing(sqlite3.connect(case.sandbox.database)) as connection:
            dump = "\n".join(connection.iterdump())
        assert "yprov+" not in dump
    else:
        texts = [
            path
            for path in (case.sandbox.folder / "mlruns").rglob("*")
            if path.is_file() and "provenance" not in path.parts
        ]
        assert texts
        assert not [path for path in texts if b"yprov+" in path.read_bytes()]


def test_store_is_readable_after_uninstall(
    case: Case, interpreter_without_package: list[str]
) -> None:
    script = """
    import importlib.util, json, sys
    assert importlib.util.find_spec("yprov_mlflow") is None
    from mlflow import MlflowClient
    client = MlflowClient()
    names = lambda run, path=None: sorted(f.path for f in client.list_artifacts(run, path))
    run = sys.argv[1]
    print(json.dumps({
        "files": names(run), "ours": names(run, "provenance"),
        "text": open(client.download_artifacts(run, "t.txt")).read(),
    }))
    """
    import textwrap

    done = case.sandbox.call(
        *interpreter_without_package,
        *("-c", textwrap.dedent(script), case.results["artifacts"]),
        uri=case.uri,
    )
    assert done.json["text"] == "changed"
    assert "provenance/prov.json" in done.json["ours"]
    assert {"a.txt", "conf", "into", "provenance", "sub", "t.txt"} <= set(done.json["files"])


# -- cases in separate processes -----------------------------------------------------------------


def test_recover_after_kill_has_all_metrics(sandbox: Sandbox) -> None:
    done = sandbox.train(
        """
        import os, signal
        import mlflow
        with mlflow.start_run() as run:
            print(f'"{run.info.run_id}"', flush=True)
            mlflow.log_param("lr", 0.1)
            for step in range(250):
                mlflow.log_metric("loss", step / 7, step=step)
            os.kill(os.getpid(), signal.SIGKILL)
        """,
        f"yprov+{sandbox.sqlite}",
        check=False,
    )
    assert done.code == -9
    client = MlflowClient(tracking_uri=sandbox.sqlite)
    assert not client.list_artifacts(done.json)
    recovered = sandbox.yprov("recover", "--yes", uri=sandbox.sqlite)
    assert done.json in recovered.out
    document = sandbox.document(done.json)
    assert document.values("loss") == [step / 7 for step in range(250)]
    assert document.params == {"lr": "0.1"}
    assert client.get_run(done.json).info.status == "FAILED"
    assert document.status == "FAILED"


def test_run_resumed_in_new_process_has_two_sessions(sandbox: Sandbox) -> None:
    script = """
        import json, sys
        import mlflow
        with mlflow.start_run(run_id=sys.argv[1] if len(sys.argv) > 1 else None) as run:
            mlflow.log_metric("loss", 1.0, step=len(sys.argv))
        print(json.dumps(run.info.run_id))
        """
    run_id = sandbox.train(script, f"yprov+{sandbox.sqlite}").json
    sandbox.train(script, f"yprov+{sandbox.sqlite}", run_id)
    document = sandbox.document(run_id)
    assert [point.step for point in document.points["loss"]] == [1, 2]
    assert len(document.sessions) == 2
    assert document.relations("wasInformedBy")


def test_run_resumed_on_other_machine_includes_earlier_session(sandbox: Sandbox) -> None:
    # The second machine has no journal of the first session: it must read the store.
    first = sandbox.train(
        """
        import json
        import mlflow
        with mlflow.start_run() as run:
            mlflow.log_params({"a": "1"})
            mlflow.set_tag("t", "v")
            mlflow.log_metric("loss", 1.0, step=0)
            mlflow.log_text("first", "first.txt")
        print(json.dumps(run.info.run_id))
        """,
        f"yprov+{sandbox.sqlite}",
    )
    sandbox.train(
        """
        import sys
        import mlflow
        with mlflow.start_run(run_id=sys.argv[1]):
            mlflow.log_metric("loss", 0.5, step=1)
            mlflow.log_text("second", "second.txt")
        """,
        f"yprov+{sandbox.sqlite}",
        first.json,
        YPROV_MLFLOW_DIR=str(sandbox.folder / "other machine"),
    )
    document = sandbox.document(first.json)
    assert document.params == {"a": "1"}
    assert document.tags["t"] == "v"
    assert [point[::2] for point in document.points["loss"]] == [(0, 1.0), (1, 0.5)]
    assert {"first.txt", "second.txt"} <= set(document.artifacts)


def test_unwritable_journal_folder_warns_once(sandbox: Sandbox) -> None:
    (sandbox.folder / "a file").write_text("")
    done = sandbox.train(
        """
        import json
        import mlflow
        with mlflow.start_run() as run:
            for step in range(5):
                mlflow.log_metric("loss", 1.0, step=step)
            mlflow.log_text("t", "t.txt")
        print(json.dumps(run.info.run_id))
        """,
        f"yprov+{sandbox.sqlite}",
        YPROV_MLFLOW_DIR=str(sandbox.folder / "a file" / "below"),
    )
    client = MlflowClient(tracking_uri=sandbox.sqlite)
    assert len(client.get_metric_history(done.json, "loss")) == 5
    assert client.get_run(done.json).info.status == "FINISHED"
    warnings = [line for line in done.err.splitlines() if "rovenance" in line]
    assert len(warnings) == 1, done.err
    assert "a file" in warnings[0]
    assert "Traceback" not in done.err


def test_recover_skips_torn_and_foreign_journal_lines(sandbox: Sandbox) -> None:
    run_id = sandbox.train(
        """
        import json, os, signal
        import mlflow
        run = mlflow.start_run()
        print(json.dumps(run.info.run_id), flush=True)
        for step in range(10):
            mlflow.log_metric("loss", float(step), step=step)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        f"yprov+{sandbox.sqlite}",
        check=False,
    ).json
    [journal] = [p for p in sandbox.journals() if run_id in str(p) and p.suffix == ".journal"]
    with journal.open("ab") as file:
        file.write(b"what is this\n")
        file.write(b'["metr')
    (journal.parent / "other.journal").write_bytes(b"\x00\xff not ours")
    sandbox.yprov("recover", "--yes", uri=sandbox.sqlite)
    document = sandbox.document(run_id)
    assert document.values("loss") == [float(step) for step in range(10)]


def test_store_whose_log_metric_calls_log_batch_records_one_event(
    sandbox: Sandbox,
) -> None:
    run_id = sandbox.train(
        """
        import json
        import mlflow
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
        SqlAlchemyStore.log_metric = lambda self, run_id, metric: self.log_batch(
            run_id, [metric], [], []
        )
        with mlflow.start_run() as run:
            for step in range(3):
                mlflow.log_metric("loss", float(step), step=step)
        print(json.dumps(run.info.run_id))
        """,
        f"yprov+{sandbox.sqlite}",
    ).json
    assert sandbox.document(run_id).values("loss") == [0.0, 1.0, 2.0]


def test_metric_written_by_failing_call_is_recorded(sandbox: Sandbox) -> None:
    run_id = sandbox.train(
        """
        import json
        import mlflow
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
        original = SqlAlchemyStore.log_metric
        def log_metric(self, run_id, metric):
            original(self, run_id, metric)
            if metric.step == 1:
                raise RuntimeError("too late")
        SqlAlchemyStore.log_metric = log_metric
        with mlflow.start_run() as run:
            for step in range(3):
                try:
                    mlflow.log_metric("loss", float(step), step=step)
                except RuntimeError as error:
                    assert str(error) == "too late"
        print(json.dumps(run.info.run_id))
        """,
        f"yprov+{sandbox.sqlite}",
    ).json
    assert sandbox.document(run_id).values("loss") == [0.0, 1.0, 2.0]


@pytest.mark.parametrize(
    "uri", ["yprov+nonsense://x", "yprov+", "yprov+http://127.0.0.1:9"], ids=lambda uri: uri
)
def test_bad_uri_fails_like_plain_mlflow(
    sandbox: Sandbox, uri: str, capfd: pytest.CaptureFixture[str]
) -> None:
    script = """
        import mlflow
        mlflow.set_experiment("x")
        """
    quick = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    ours = sandbox.train(script, uri, check=False, **quick)
    plain = sandbox.train(script, uri.removeprefix("yprov+"), check=False, **quick)
    assert (ours.code != 0) == (plain.code != 0)
    assert _last_error(ours.err) == _last_error(plain.err)


def _last_error(err: str) -> str:
    lines = [line for line in err.strip().splitlines() if "Error" in line or "Exception" in line]
    # Memory addresses in messages differ between processes.
    return lines[-1].partition(" at 0x")[0] if lines else ""


def test_show_reports_bad_uri_without_traceback(sandbox: Sandbox) -> None:
    done = sandbox.yprov("show", "0" * 32, uri="yprov+nonsense://x", check=False)
    assert done.code == 1
    assert "nonsense" in done.err
    assert "Traceback" not in done.err + done.out


def test_times_increase_when_clock_runs_backwards(sandbox: Sandbox) -> None:
    done = sandbox.train(
        """
        import json, time
        import mlflow
        real, offset = time.time_ns, [0]
        time.time_ns = lambda: real() + offset[0]
        time.time = lambda: (real() + offset[0]) / 1e9
        with mlflow.start_run() as run:
            mlflow.log_metric("loss", 0.0, step=0)
            offset[0] = -3600 * 10**9
            mlflow.log_metric("loss", 1.0, step=1)
        print(json.dumps(run.info.run_id))
        """,
        f"yprov+{sandbox.sqlite}",
    )
    document = sandbox.document(done.json)
    assert document.values("loss") == [0.0, 1.0]
    times = {
        literal(document.data["entity"][relation["prov:entity"]].get("mlf:step")): relation[
            "prov:time"
        ]
        for relation in document.relations("wasGeneratedBy")
        if "mlf:step" in document.data["entity"].get(relation["prov:entity"], {})
    }
    assert times[0] <= times[1]


def test_run_purged_while_open_behaves_like_plain_mlflow(sandbox: Sandbox) -> None:
    # As if another process ran ``mlflow gc``.
    script = """
        import sys
        import mlflow
        from mlflow import MlflowClient
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
        run = mlflow.start_run()
        mlflow.log_metric("loss", 1.0)
        MlflowClient().delete_run(run.info.run_id)
        SqlAlchemyStore(sys.argv[1], "mlruns")._hard_delete_run(run.info.run_id)
        try:
            mlflow.log_metric("loss", 2.0)
        except mlflow.exceptions.MlflowException as error:
            print("refused")
        """
    done = sandbox.train(script, f"yprov+{sandbox.sqlite}", sandbox.sqlite, check=False)
    plain = sandbox.train(script, sandbox.sqlite, sandbox.sqlite, check=False)
    assert done.code == plain.code
    assert ("refused" in done.out) == ("refused" in plain.out)
