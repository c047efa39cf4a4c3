"""What other tools lose, merge or break on: each a test that holds our document to MLflow's store.

Most tests share one script per backend, since importing MLflow is what takes the time.
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

from integration.conftest import Workplace
from integration.documents import Point, RunDocument, literal
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
"""Names that MLflow takes (SQLite folds no case; the file store's paths are the names)."""

SCRIPT = """
import json, math, sys, threading
import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

ODD_KEYS = json.loads(sys.argv[1])
made = {}
client = MlflowClient()
mlflow.set_experiment("team/a experiment: 100% ünïcode")

# two runs in threads
together = threading.Barrier(2)
def train(name):
    with mlflow.start_run(run_name=name) as run:
        made[name] = run.info.run_id
        together.wait()
        mlflow.log_param("who", name)
        for step in range(20):
            mlflow.log_metric("shared", float(len(name) * 100 + step), step=step)
        mlflow.log_metric(f"only {name}", 1.0)
        together.wait()
threads = [threading.Thread(target=train, args=(name,)) for name in ("one", "second")]
[t.start() for t in threads]
[t.join() for t in threads]

# three runs one after another
for number in range(3):
    with mlflow.start_run(run_name=f"in a row {number}") as run:
        made[f"row{number}"] = run.info.run_id
        mlflow.log_metric(f"m{number}", float(number))
        mlflow.log_param("number", number)

# nested runs
with mlflow.start_run(run_name="outer") as outer:
    made["outer"] = outer.info.run_id
    mlflow.log_metric("depth", 0.0)
    with mlflow.start_run(run_name="inner", nested=True) as inner:
        made["inner"] = inner.info.run_id
        mlflow.log_metric("depth", 1.0)
    mlflow.log_metric("after", 2.0)

# odd keys and values
import numpy
with mlflow.start_run(run_name="odd / name: ü") as run:
    made["odd"] = run.info.run_id
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

# what MLflow refuses
with mlflow.start_run(run_name="refused") as run:
    made["refused"] = run.info.run_id
    mlflow.log_param("kept", "first")
    made["accepted"] = []
    for name, attempt in (
        ("param changed", lambda: mlflow.log_param("kept", "second")),
        ("text as metric", lambda: mlflow.log_metric("no number", "seven")),
        ("long key", lambda: mlflow.log_param("k" * 300, 1)),
        ("forbidden letter", lambda: mlflow.log_metric("bad?key", 1.0)),
        ("half of a batch", lambda: mlflow.log_params({"new": 1, "kept": "third"})),
    ):
        try:
            attempt()
            made["accepted"].append(name)
        except (MlflowException, ValueError):
            pass
    mlflow.log_param("text", "y" * 6000)
    mlflow.log_param("cut", "z" * 7000)
    mlflow.log_params({"cut in a batch": "z" * 7000})
    mlflow.set_tag("cut tag", "z" * 9000)
    mlflow.log_param("kept", "first")

# resumed in the same process
with mlflow.start_run(run_name="resumed here") as run:
    made["resumed"] = run.info.run_id
    mlflow.log_metric("loss", 3.0, step=0)
with mlflow.start_run(run_id=made["resumed"]):
    mlflow.log_metric("loss", 2.0, step=1)

# failed, killed, deleted
try:
    with mlflow.start_run(run_name="failed") as run:
        made["failed"] = run.info.run_id
        mlflow.log_metric("loss", 1.0)
        raise RuntimeError("the training broke")
except RuntimeError:
    pass
with mlflow.start_run(run_name="deleted") as run:
    made["deleted"] = run.info.run_id
    mlflow.log_metric("loss", 1.0)
client.delete_run(made["deleted"])
with mlflow.start_run(run_name="deleted while open") as run:
    made["deleted_open"] = run.info.run_id
    mlflow.log_metric("before", 1.0)
    client.delete_run(run.info.run_id)
    try:
        mlflow.log_metric("after", 1.0)
        made["logged_after_deletion"] = True
    except MlflowException:
        made["logged_after_deletion"] = False
    client.restore_run(run.info.run_id)

# a metric logged again with a model
with mlflow.start_run(run_name="model metrics") as run:
    made["model_metrics"] = run.info.run_id
    model = mlflow.initialize_logged_model("m")
    made["model"] = model.model_id
    for step in (0, 2, 1):
        mlflow.log_metric("acc", step / 2, step=step, timestamp=1_700_000_000_000)
        mlflow.log_metric(
            "acc", step / 2, step=step, timestamp=1_700_000_000_000, model_id=model.model_id
        )
    mlflow.finalize_logged_model(model.model_id, "READY")

# artifacts
import pathlib
with mlflow.start_run(run_name="artifacts") as run:
    made["artifacts"] = run.info.run_id
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

# data sets, tags and their history
import pandas as pd
with mlflow.start_run(run_name="data", tags={"stage": "draft"}) as run:
    made["data"] = run.info.run_id
    frame = pd.DataFrame({"x": [1.0, 2.0], "y": [0, 1]})
    data = mlflow.data.from_pandas(frame, source="https://example.org/d.csv", name="rows")
    mlflow.log_input(data, context="training")
    made["digest"] = data.digest
    mlflow.set_tag("stage", "review")
    mlflow.set_tag("stage", "final")
    mlflow.set_tag("gone", "x")
    mlflow.delete_tag("gone")
    mlflow.set_tag("gone", "back")
    mlflow.delete_tag("gone")
print(json.dumps(made))
"""


class Case:
    """What the script did on one backend."""

    def __init__(self, place: Workplace, uri: str, made: dict[str, Any]) -> None:
        self.place = place
        self.uri = uri
        self.made = made
        self.client = MlflowClient(tracking_uri=uri)
        self._documents: dict[str, RunDocument] = {}

    def document(self, name: str) -> RunDocument:
        if name not in self._documents:
            self._documents[name] = RunDocument.fetch(self.made[name], self.uri)
        return self._documents[name]


@pytest.fixture(scope="module", params=["sqlite", "file"])
def case(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    empty_database: Path,
) -> Case:
    place = Workplace(tmp_path_factory.mktemp(request.param), empty_database)
    uri = place.sqlite if request.param == "sqlite" else place.files
    done = place.run(SCRIPT, f"yprov+{uri}", json.dumps(ODD_KEYS))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        return Case(place, uri, done.made)


def history(case: Case, run_id: str, key: str) -> list[Point]:
    found = case.client.get_metric_history(run_id, key)
    return sorted(Point(m.step, m.timestamp, m.value) for m in found)


def same(first: list[Point], second: list[Point]) -> bool:
    """Compare bit by bit, so that NaN is NaN and -0.0 is not 0.0."""

    def bits(points: list[Point]) -> list[tuple[int, int, bytes]]:
        return sorted((p.step, p.timestamp_ms, struct.pack("<d", p.value)) for p in points)

    return bits(first) == bits(second)


def assert_holds_all(case: Case, document: RunDocument, *, skip: tuple[str, ...] = ()) -> None:
    """Nothing that MLflow holds of a run is missing from its document, nothing is in excess."""
    run = case.client.get_run(document.run_id)
    assert document.params == run.data.params
    assert set(document.points) == set(run.data.metrics)
    for key in run.data.metrics:
        if key not in skip:
            assert same(document.points[key], history(case, document.run_id, key)), key
    assert document.counts() == {key: len(points) for key, points in document.points.items()}
    for key, value in run.data.tags.items():
        if key != "mlflow.user":
            assert document.tags[key] == value
    assert document.status == run.info.status
    assert document.name == run.info.run_name


@pytest.mark.parametrize("name", ["one", "second"])
def test_two_runs_in_threads_have_a_document_each(case: Case, name: str) -> None:
    document = case.document(name)
    assert_holds_all(case, document)
    assert document.params == {"who": name}
    assert document.values("shared") == [len(name) * 100.0 + step for step in range(20)]
    assert set(document.points) == {"shared", f"only {name}"}


@pytest.mark.parametrize("number", range(3))
def test_runs_one_after_another_do_not_leak(case: Case, number: int) -> None:
    document = case.document(f"row{number}")
    assert_holds_all(case, document)
    assert set(document.points) == {f"m{number}"}
    assert document.params == {"number": str(number)}


def test_nested_run_and_its_parent_both_have_their_own(case: Case) -> None:
    outer, inner = case.document("outer"), case.document("inner")
    assert_holds_all(case, outer)
    assert_holds_all(case, inner)
    assert outer.values("depth") == [0.0]
    assert outer.values("after") == [2.0]
    assert inner.values("depth") == [1.0]


def test_nested_run_was_started_by_its_parent(case: Case) -> None:
    inner = case.document("inner")
    prov = inner.as_prov()
    parent = f"urn:uuid:{_uuid(case.made['outer'])}#run"
    child = f"urn:uuid:{_uuid(case.made['inner'])}#run"
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
def test_odd_keys_stay_what_they_are_and_apart(case: Case, key: str) -> None:
    document = case.document("odd")
    number = ODD_KEYS.index(key)
    assert document.points[key] == [Point(number, 1_700_000_000_000 + number, float(number))]
    assert document.params[key] == f"value {number}"
    assert document.tags[key] == f"tag {number}"


def test_odd_keys_leave_nothing_else(case: Case) -> None:
    document = case.document("odd")
    assert_holds_all(case, document, skip=("not finite", "extreme", "best"))
    assert len(document.params) == len(ODD_KEYS)
    assert {"x.y", "x-y", "dir with space/ü ñ.txt"} <= set(document.artifacts)
    assert document.artifacts["x.y"] != document.artifacts["x-y"]
    document.as_prov()


def test_values_keep_every_bit(case: Case) -> None:
    document = case.document("odd")
    found = [struct.pack("<d", value) for value in document.values("extreme")]
    assert found == [struct.pack("<d", v) for v in (1e308, 5e-324, -1e308, 0.1, -0.0)]
    first, second, third = document.values("not finite")
    assert (first, second) == (math.inf, -math.inf)
    assert math.isnan(third)
    assert document.points["far"][0].step == 2**40
    assert document.points["back"][0].step == -5


def test_step_and_time_that_numpy_made(case: Case) -> None:
    """SQLite keeps their bytes: the store has the same point, and can be converted."""
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


def test_what_mlflow_refuses_is_not_recorded(case: Case) -> None:
    document = case.document("refused")
    assert case.made["accepted"] == []
    assert_holds_all(case, document)
    assert document.params["kept"] == "first"
    assert document.params["text"] == "y" * 6000
    assert not document.points


def test_long_values_are_what_mlflow_kept_of_them(case: Case) -> None:
    """MLflow cuts what is too long; a document that held the whole would differ from the run."""
    document = case.document("refused")
    kept = case.client.get_run(document.run_id).data
    assert document.params["cut"] == kept.params["cut"] == "z" * 6000
    assert document.params["cut in a batch"] == kept.params["cut in a batch"] == "z" * 6000
    assert document.tags["cut tag"] == kept.tags["cut tag"]


def test_run_resumed_in_the_same_process(case: Case) -> None:
    document = case.document("resumed")
    assert_holds_all(case, document)
    assert document.values("loss") == [3.0, 2.0]


def test_failed_run_says_so(case: Case) -> None:
    document = case.document("failed")
    assert_holds_all(case, document)
    assert document.status == "FAILED"
    assert "prov:endTime" in document.run


def test_deleted_run_says_so_and_can_be_read(case: Case) -> None:
    case.client.restore_run(case.made["deleted"])
    try:
        document = case.document("deleted")
        assert document.values("loss") == [1.0]
        assert document.status == "FINISHED"
    finally:
        case.client.delete_run(case.made["deleted"])


def test_run_deleted_while_open_keeps_what_came_before(case: Case) -> None:
    document = case.document("deleted_open")
    assert document.values("before") == [1.0]
    assert ("after" in document.points) == case.made["logged_after_deletion"]
    assert document.of_type("mlf:StoreOperation")


def test_metric_logged_again_with_a_model_is_no_second_point_lost_or_mixed(case: Case) -> None:
    document = case.document("model_metrics")
    assert_holds_all(case, document, skip=("acc",))
    samples = document.of_type("mlf:MetricSample").values()
    of_model = [s for s in samples if "mlf:model" in s]
    assert sorted(literal(s["mlf:step"]) for s in samples) == [0, 0, 1, 1, 2, 2]
    assert sorted((literal(s["mlf:step"]), literal(s["prov:value"])) for s in of_model) == [
        (0, 0.0),
        (1, 0.5),
        (2, 1.0),
    ]
    assert case.client.get_run(document.run_id).data.metrics["acc"] == 1.0
    assert list(document.models) == [case.made["model"]]


def test_artifacts_have_the_hash_of_what_the_store_holds(case: Case, tmp_path: Path) -> None:
    document = case.document("artifacts")
    target = tmp_path / "downloaded"
    target.mkdir()
    case.client.download_artifacts(document.run_id, "", str(target))
    held = {
        str(path.relative_to(target)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in target.rglob("*")
        if path.is_file() and path.relative_to(target).parts[0] != "provenance"
    }
    assert document.artifacts == held
    assert set(held) == {
        *("a.txt", "sub/b.bin", "empty", "into/a.txt", "into/sub/b.bin", "into/empty"),
        *("conf/d.json", "t.txt"),
    }


def test_overwritten_artifact_is_two_versions(case: Case) -> None:
    found = case.document("artifacts").artifact_versions("t.txt")
    wanted = [hashlib.sha256(text.encode()).hexdigest() for text in ("tëxt", "changed")]
    assert sorted(found) == sorted(wanted)


def test_tags_keep_their_history(case: Case) -> None:
    document = case.document("data")
    assert_holds_all(case, document)
    assert document.tag_history("stage") == ["draft", "review", "final"]
    assert document.tag_history("gone") == ["x", "back"]
    assert "gone" not in document.tags


def test_dataset_has_name_digest_source_and_what_it_was_for(case: Case) -> None:
    document = case.document("data")
    data = document.datasets["rows"]
    assert literal(data["mlf:digest"]) == case.made["digest"]
    assert "https://example.org/d.csv" in literal(data["mlf:source"])
    usages = json.dumps(document.relations("used"))
    assert "training" in usages


def test_nothing_of_ours_is_in_what_the_backend_stores(case: Case) -> None:
    if case.uri.startswith("sqlite"):
        with closing(sqlite3.connect(case.place.database)) as connection:
            dump = "\n".join(connection.iterdump())
        assert "yprov+" not in dump
    else:
        texts = [
            path
            for path in (case.place.folder / "mlruns").rglob("*")
            if path.is_file() and "provenance" not in path.parts
        ]
        assert texts
        assert not [path for path in texts if b"yprov+" in path.read_bytes()]


def test_store_opens_whole_without_the_package(
    case: Case, interpreter_without_package: list[str]
) -> None:
    """No lock-in: after ``pip uninstall`` MLflow lists and downloads everything."""
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

    done = case.place.call(
        *interpreter_without_package,
        *("-c", textwrap.dedent(script), case.made["artifacts"]),
        uri=case.uri,
    )
    assert done.made["text"] == "changed"
    assert done.made["ours"] == ["provenance/prov.json"]
    assert {"a.txt", "conf", "into", "provenance", "sub", "t.txt"} <= set(done.made["files"])


# -- cases that need a process of their own ------------------------------------------------------


def test_killed_after_250_metrics_and_recovered(workplace: Workplace) -> None:
    done = workplace.run(
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
        f"yprov+{workplace.sqlite}",
        check=False,
    )
    assert done.code == -9
    client = MlflowClient(tracking_uri=workplace.sqlite)
    assert not client.list_artifacts(done.made)
    recovered = workplace.yprov("recover", uri=workplace.sqlite)
    assert done.made in recovered.out
    document = workplace.document(done.made)
    assert document.values("loss") == [step / 7 for step in range(250)]
    assert document.params == {"lr": "0.1"}
    assert client.get_run(done.made).info.status == "RUNNING"
    assert document.status == "RUNNING"


def test_run_resumed_in_a_new_process_has_both_sessions(workplace: Workplace) -> None:
    script = """
        import json, sys
        import mlflow
        with mlflow.start_run(run_id=sys.argv[1] if len(sys.argv) > 1 else None) as run:
            mlflow.log_metric("loss", 1.0, step=len(sys.argv))
        print(json.dumps(run.info.run_id))
        """
    run_id = workplace.run(script, f"yprov+{workplace.sqlite}").made
    workplace.run(script, f"yprov+{workplace.sqlite}", run_id)
    document = workplace.document(run_id)
    assert [point.step for point in document.points["loss"]] == [1, 2]
    assert len(document.sessions) == 2
    assert document.relations("wasInformedBy")


def test_run_resumed_on_another_machine_is_completed_from_the_store(workplace: Workplace) -> None:
    """Another machine has no journal of the first session; the store knows what it did."""
    first = workplace.run(
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
        f"yprov+{workplace.sqlite}",
    )
    workplace.run(
        """
        import sys
        import mlflow
        with mlflow.start_run(run_id=sys.argv[1]):
            mlflow.log_metric("loss", 0.5, step=1)
            mlflow.log_text("second", "second.txt")
        """,
        f"yprov+{workplace.sqlite}",
        first.made,
        YPROV_MLFLOW_DIR=str(workplace.folder / "other machine"),
    )
    document = workplace.document(first.made)
    assert document.params == {"a": "1"}
    assert document.tags["t"] == "v"
    assert [point[::2] for point in document.points["loss"]] == [(0, 1.0), (1, 0.5)]
    assert {"first.txt", "second.txt"} <= set(document.artifacts)


def test_unwritable_journal_folder_warns_once_and_harms_nothing(workplace: Workplace) -> None:
    (workplace.folder / "a file").write_text("")
    done = workplace.run(
        """
        import json
        import mlflow
        with mlflow.start_run() as run:
            for step in range(5):
                mlflow.log_metric("loss", 1.0, step=step)
            mlflow.log_text("t", "t.txt")
        print(json.dumps(run.info.run_id))
        """,
        f"yprov+{workplace.sqlite}",
        YPROV_MLFLOW_DIR=str(workplace.folder / "a file" / "below"),
    )
    client = MlflowClient(tracking_uri=workplace.sqlite)
    assert len(client.get_metric_history(done.made, "loss")) == 5
    assert client.get_run(done.made).info.status == "FINISHED"
    warnings = [line for line in done.err.splitlines() if "rovenance" in line]
    assert len(warnings) == 1, done.err
    assert "a file" in warnings[0]
    assert "Traceback" not in done.err


def test_torn_and_foreign_lines_cost_only_themselves(workplace: Workplace) -> None:
    run_id = workplace.run(
        """
        import json, os, signal
        import mlflow
        run = mlflow.start_run()
        print(json.dumps(run.info.run_id), flush=True)
        for step in range(10):
            mlflow.log_metric("loss", float(step), step=step)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        f"yprov+{workplace.sqlite}",
        check=False,
    ).made
    [journal] = [p for p in workplace.journals() if run_id in str(p) and p.suffix == ".journal"]
    with journal.open("ab") as file:
        file.write(b"what is this\n")
        file.write(b'["metr')
    (journal.parent / "other.journal").write_bytes(b"\x00\xff not ours")
    workplace.yprov("recover", uri=workplace.sqlite)
    document = workplace.document(run_id)
    assert document.values("loss") == [float(step) for step in range(10)]


def test_a_store_that_logs_a_metric_by_its_own_log_batch_makes_one_event(
    workplace: Workplace,
) -> None:
    run_id = workplace.run(
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
        f"yprov+{workplace.sqlite}",
    ).made
    assert workplace.document(run_id).values("loss") == [0.0, 1.0, 2.0]


def test_a_metric_that_a_failing_call_has_written_is_in_the_document(workplace: Workplace) -> None:
    run_id = workplace.run(
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
        f"yprov+{workplace.sqlite}",
    ).made
    assert workplace.document(run_id).values("loss") == [0.0, 1.0, 2.0]


@pytest.mark.parametrize(
    "uri", ["yprov+nonsense://x", "yprov+", "yprov+http://127.0.0.1:9"], ids=lambda uri: uri
)
def test_bad_uri_fails_as_in_plain_mlflow(
    workplace: Workplace, uri: str, capfd: pytest.CaptureFixture[str]
) -> None:
    script = """
        import mlflow
        mlflow.set_experiment("x")
        """
    quick = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    ours = workplace.run(script, uri, check=False, **quick)
    plain = workplace.run(script, uri.removeprefix("yprov+"), check=False, **quick)
    assert (ours.code != 0) == (plain.code != 0)
    assert _last_error(ours.err) == _last_error(plain.err)


def _last_error(err: str) -> str:
    lines = [line for line in err.strip().splitlines() if "Error" in line or "Exception" in line]
    # Addresses of objects differ from process to process.
    return lines[-1].partition(" at 0x")[0] if lines else ""


def test_command_says_what_is_wrong_with_a_bad_uri(workplace: Workplace) -> None:
    done = workplace.yprov("show", "0" * 32, uri="yprov+nonsense://x", check=False)
    assert done.code == 1
    assert "nonsense" in done.err
    assert "Traceback" not in done.err + done.out


def test_clock_that_runs_backwards(workplace: Workplace) -> None:
    """Times in the document never go back, whatever the wall clock does meanwhile."""
    done = workplace.run(
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
        f"yprov+{workplace.sqlite}",
    )
    document = workplace.document(done.made)
    assert document.values("loss") == [0.0, 1.0]
    times = {
        literal(document.data["entity"][relation["prov:entity"]].get("mlf:step")): relation[
            "prov:time"
        ]
        for relation in document.relations("wasGeneratedBy")
        if "mlf:step" in document.data["entity"].get(relation["prov:entity"], {})
    }
    assert times[0] <= times[1]


def test_run_purged_while_open(workplace: Workplace) -> None:
    """As by ``mlflow gc`` from elsewhere: the script sees what plain MLflow would show it."""
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
    done = workplace.run(script, f"yprov+{workplace.sqlite}", workplace.sqlite, check=False)
    plain = workplace.run(script, workplace.sqlite, workplace.sqlite, check=False)
    assert done.code == plain.code
    assert ("refused" in done.out) == ("refused" in plain.out)
