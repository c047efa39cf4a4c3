"""SQLite databases of old and future schema revisions, and with invalid contents."""

import sqlite3
import sys
from collections import Counter
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.builders.databases import RUN, add_run, metric
from support.readers.source_contents import SourceContents

from yprov_mlflow.prov.events import (
    ArtifactsLogged,
    MetricsLogged,
    ModelLogged,
    ParamsLogged,
    RunCreated,
    RunUpdated,
    StoreCalled,
    TagsSet,
)
from yprov_mlflow.prov.sources import open_source
from yprov_mlflow.prov.sources.sql.metric_points import assign_models
from yprov_mlflow.prov.translate import translate


@pytest.mark.parametrize("name", ["", None])
def test_empty_run_name_differs_from_a_missing_one(make, name):
    assert SourceContents(make(name=name)).single(RunCreated).run_name == name


def test_largest_float_is_marked_as_possibly_infinite(make):
    largest = sys.float_info.max
    location = make(
        *(metric("m", v, i, i) for i, v in enumerate((0.5, -largest, largest))),
        metric("other", 1.0, 1, 1),
    )
    with closing(open_source(location)) as source:
        document = translate(source.events(next(source.runs())))
        [problem] = source.problems()
    marked = {
        i.rpartition("metric/")[2]: r["prov:value"]["$"] if "prov:value" in r else None
        for i, r in document.records["entity"].items()
        if "mlf:possiblyInfinite" in r
    }
    assert marked == {"@run/m": None, "@run/m/1": repr(-largest), "@run/m/2": repr(largest)}
    assert problem.reason.startswith("2 metric values") and "INF" in problem.reason
    assert problem.lost == ""


# -- revisions -----------------------------------------------------------------------------


def test_schema_of_mlflow_0_9_is_read(make):
    statement = "INSERT INTO metrics VALUES (?, ?, ?, ?)"
    location = make(
        (statement, ("loss", 0.5, 1_550_000_001, RUN)),
        (statement, ("loss", 0.25, 1_550_000_002, RUN)),
        (statement, ("own", 1.0, 7, RUN)),
        ("INSERT INTO tags VALUES ('mlflow.runName', 'first', ?)", (RUN,)),
        ("INSERT INTO params VALUES ('lr', '1', ?)", (RUN,)),
        oldest=True,
        source_type="PROJECT",
        source_name="train.py",
        source_version="abc",
        entry_point_name="main",
        user_id="ada",
    )
    reading = SourceContents(location)
    created = reading.single(RunCreated)
    assert (created.run_name, created.user_id) == ("first", "ada")
    assert created.fields == {
        "source_type": "PROJECT",
        "source_name": "train.py",
        "source_version": "abc",
        "entry_point_name": "main",
        "metric_timestamps": "s",
    }
    assert reading.points("loss") == [(1_550_000_001_000, 0.5, 0), (1_550_000_002_000, 0.25, 0)]
    # Numbers outside the range of seconds are left as they are.
    assert reading.points("own") == [(7, 1.0, 0)]
    assert reading.params() == {"lr": "1"}
    (experiment,) = reading.calls("create_experiment")
    assert experiment.arguments["creation_time"] is None
    assert reading.problems == []


def test_columns_and_tables_of_later_schemas_are_kept(make):
    location = make(
        "ALTER TABLE runs ADD COLUMN mood VARCHAR(10)",
        "UPDATE runs SET mood = 'good'",
        "ALTER TABLE experiments ADD COLUMN color TEXT DEFAULT 'red'",
        "ALTER TABLE params ADD COLUMN unit TEXT",
        "CREATE TABLE wishes (id INTEGER PRIMARY KEY, text TEXT, api_token TEXT, raw BLOB)",
        "INSERT INTO wishes VALUES (1, 'peace', 'hush', x'0102')",
        "CREATE TABLE alembic_version (version_num VARCHAR(32))",
        "INSERT INTO alembic_version VALUES ('ffffffffffff')",
    )
    reading = SourceContents(location)
    assert reading.single(RunCreated).fields == {"mood": "good"}
    (experiment,) = reading.calls("create_experiment")
    assert experiment.arguments["color"] == "red"
    (wishes,) = reading.calls("record_wishes")
    row = {"id": 1, "text": "peace", "api_token": "(withheld)", "raw": "AQI="}
    assert wishes.arguments == {"rows": [row]}
    problems = {problem.place: problem for problem in reading.problems}
    assert problems.keys() == {"table wishes", "table params"}
    assert problems["table wishes"].lost == ""
    assert "unit" in problems["table params"].reason and problems["table params"].lost


def test_foreign_tables_with_names_of_mlflow_are_recorded_as_rows(make):
    names = ("webhooks", "scorers", "registered_models", "logged_models", "trace_info", "datasets")
    statements = [
        statement
        for name in names
        for statement in (
            f"CREATE TABLE {name} (id INTEGER, wish TEXT)",
            f"INSERT INTO {name} VALUES (1, 'peace')",
        )
    ]
    reading = SourceContents(make(*statements))
    for name in names:
        (call,) = reading.calls(f"record_{name}_not_of_mlflow")
        assert call.arguments == {"rows": [{"id": 1, "wish": "peace"}]}
    assert len(reading.calls("create_experiment")) == 1
    assert [problem.lost for problem in reading.problems] == [""] * len(names)


def test_orphaned_rows_are_reported(make):
    location = make(
        "INSERT INTO params VALUES ('p', '1', 'nobody')",
        "INSERT INTO params VALUES ('p', '1', NULL)",
        metric("m", 1.0, 1, run="nobody"),
        "CREATE TABLE registered_models (name TEXT, creation_time BIGINT)",
        "CREATE TABLE model_versions (name TEXT, version INTEGER)",
        "INSERT INTO model_versions VALUES ('ghost', 1)",
    )
    problems = {problem.place: problem for problem in SourceContents(location).problems}
    assert problems.keys() == {"table params", "table metrics", "table model_versions"}
    assert problems["table params"].reason == "has rows whose owner is not in the table runs: 2"
    assert problems["table model_versions"].lost == "these rows"


def test_missing_tables_are_empty_and_reported(make):
    location = make("DROP TABLE params", "DROP TABLE tags", metric("a", 1.0, 5))
    reading = SourceContents(location)
    assert not reading.select(ParamsLogged) and not reading.select(TagsSet)
    assert reading.points("a") == [(5, 1.0, 0)]
    assert [(problem.place, problem.lost) for problem in reading.problems] == [
        ("table params", "all params of runs"),
        ("table tags", "all tags of runs"),
    ]


def test_points_of_models_are_read_without_the_metrics_of_runs(make):
    names = "model_id, metric_name, metric_timestamp_ms, metric_step, metric_value, run_id"
    location = make(
        "DROP TABLE metrics",
        f"CREATE TABLE logged_model_metrics ({names})",
        f"INSERT INTO logged_model_metrics VALUES ('m-1', 'a', 5, 2.5, 1.0, '{RUN}')",
    )
    reading = SourceContents(location)
    (call,) = (e for e in reading.run_events() if isinstance(e, StoreCalled))
    [point] = call.arguments["metrics"]
    assert (point["key"], point["timestamp"], point["step"], point["value"]) == ("a", 5, 2, 1.0)
    assert {(problem.place, problem.lost) for problem in reading.problems} == {
        ("metrics, logged model m-1", "the fraction"),
        ("table metrics", "all metrics of runs"),
    }


# -- invalid contents --------------------------------------------------------------------------


def test_points_are_sorted_by_key_timestamp_step_and_value(make):
    location = make(
        metric("b", 2.0, 5, 1),
        metric("b", 1.0, 5, 1),
        metric("b", 0.0, 5, 0),
        metric("b", 9.0, 4, 9),
        metric("B", 1.0, 1),
        metric("ä", 1.0, 1),
        metric("a", 1e308, -(2**40), -5),
    )
    reading = SourceContents(location)
    assert [event.keys[0] for event in reading.select(MetricsLogged)] == ["B", "a", "b", "ä"]
    assert reading.points("b") == [(4, 9.0, 9), (5, 0.0, 0), (5, 1.0, 1), (5, 2.0, 1)]
    assert reading.points("a") == [(-(2**40), 1e308, -5)]


def test_events_have_at_most_8192_points(make):
    location = make(*(metric("a", 1.0, i) for i in range(8193)), *(metric("b", 1.0, 1),) * 1)
    events = SourceContents(location).select(MetricsLogged)
    assert [(event.keys[0], len(event.values)) for event in events] == [
        ("a", 8192),
        ("a", 1),
        ("b", 1),
    ]


def test_invalid_points_do_not_affect_valid_ones(make):
    location = make(
        metric("a", "what", 1),
        metric("a", 2.0, 2),
        metric("a", 3.0, "soon"),
        metric("b", float("inf"), 1),
    )
    reading = SourceContents(location)
    assert reading.points("a") == [(2, 2.0, 0)]
    assert reading.points("b") == [(1, float("inf"), 0)]
    (problem,) = reading.problems
    assert "'what'" in problem.reason and "and 1 more" in problem.reason and problem.lost


def test_points_with_nan_flag_are_nan(make):
    reading = SourceContents(make(metric("m", 0.0, 1, is_nan=1), metric("m", 0.0, 2)))
    assert repr(reading.points("m")) == "[(1, nan, 0), (2, 0.0, 0)]"


def test_invalid_utf8_is_read_as_latin1(make):
    text = "CAST(x'e4' AS TEXT)"
    reading = SourceContents(make(f"INSERT INTO params VALUES ('p', {text}, '{RUN}')"))
    assert reading.params() == {"p": "ä"}
    assert reading.reasons() == ["has text that is not UTF-8, read as Latin-1"]


def test_invalid_values_of_a_run_are_reported(make):
    location = make(status="ODD", start_time="yesterday", end_time=None, experiment_id=77)
    reading = SourceContents(location)
    (ref,) = reading.refs
    assert (ref.status, ref.start_time_ms, ref.experiment_name) == ("ODD", None, None)
    assert reading.single(RunCreated).experiment_id == "77"
    assert reading.single(RunUpdated).status == "ODD"
    (problem,) = reading.problems
    assert "yesterday" in problem.reason and problem.lost == "start_time"


def test_fractions_of_times_and_steps_are_cut_and_reported(make):
    location = make(
        metric("a", 1.0, 5, 2.7),
        metric("a", 2.0, 6.5, 3),
        metric("a", 3.0, 7, 4),
        "CREATE TABLE trace_info (request_id TEXT, experiment_id INTEGER, timestamp_ms BIGINT)",
        "INSERT INTO trace_info VALUES ('tr-1', 0, 8.5)",
        start_time=1.5,
        end_time=2.75,
    )
    reading = SourceContents(location)
    (ref,) = reading.refs
    assert (ref.start_time_ms, reading.single(RunCreated).start_time_ms) == (1, 1)
    assert reading.single(RunUpdated).end_time_ms == 2
    assert reading.points("a") == [(5, 1.0, 2), (6, 2.0, 3), (7, 3.0, 4)]
    (trace,) = reading.calls("start_trace")
    assert trace.arguments["trace_info"]["request_time"] == 8
    assert {(problem.reason, problem.lost) for problem in reading.problems} == {
        ("start_time has a fraction, which is cut off: 1.5", "the fraction"),
        ("end_time has a fraction, which is cut off: 2.75", "the fraction"),
        ("timestamps or steps with a fraction, which is cut off: 2", "the fractions"),
        ("timestamp_ms has a fraction, which is cut off: 8.5", "the fraction"),
    }


def test_rows_with_another_experiment_than_their_owner_are_reported(make):
    location = make(
        "CREATE TABLE trace_info (request_id TEXT, experiment_id INTEGER)",
        "INSERT INTO trace_info VALUES ('tr-1', 0)",
        "CREATE TABLE spans (trace_id TEXT, experiment_id INTEGER, span_id TEXT, content TEXT)",
        "INSERT INTO spans VALUES ('tr-1', 0, 'a', '{}'), ('tr-1', 7, 'b', '{}')",
        "CREATE TABLE logged_models (model_id TEXT, experiment_id INTEGER)",
        "INSERT INTO logged_models VALUES ('m-1', 0)",
        "CREATE TABLE logged_model_params (model_id TEXT, experiment_id INTEGER, param_key TEXT)",
        "INSERT INTO logged_model_params VALUES ('m-1', 8, 'a'), ('m-1', 9, 'b')",
    )
    reason = "has rows with another experiment_id than in"
    assert [(p.place, p.reason, p.lost) for p in SourceContents(location).problems] == [
        ("table logged_model_params", f"{reason} logged_models, which counts: 2", ""),
        ("table spans", f"{reason} trace_info, which counts: 1", ""),
    ]


def test_binary_ids_do_not_abort_reading(make):
    location = make(
        ("UPDATE runs SET run_uuid = ?", (b"\xff",)),
        "CREATE TABLE trace_info (request_id TEXT, experiment_id INTEGER)",
        ("INSERT INTO trace_info VALUES (?, 0)", (b"\xfe",)),
    )
    reading = SourceContents(location)
    assert [ref.run_id for ref in reading.refs] == [str(b"\xff")]
    assert reading.reasons() == ["it is no longer in the database"]
    assert [call.subjects for call in reading.calls("start_trace")] == [{"trace": str(b"\xfe")}]


ODD = b"\xff"
ODD_ROWS = {
    "logged_models": {"model_id": "m-1", "artifact_location": ODD, "source_run_id": RUN},
    "trace_info": {"request_id": "tr-1", "input_tokens": ODD, "input_cost": ODD},
    "assessments": {"assessment_id": None, "trace_id": "tr-1", "created_timestamp": ODD},
    "spans": {"span_id": "s-1", "trace_id": "tr-1", "start_time_unix_nano": ODD, "content": "{}"},
    "registered_models": {"name": "net"},
    "registered_model_aliases": {"name": "net", "alias": ODD, "version": ODD},
    "model_versions": {"name": "net", "version": ODD},
    "evaluation_datasets": {"dataset_id": "d-1"},
    "evaluation_dataset_records": {"dataset_id": "d-1", "created_time": ODD},
    "scorers": {"scorer_id": "c-1", "experiment_id": 0, "scorer_name": "c"},
    "scorer_versions": {"scorer_id": "c-1", "scorer_version": ODD},
}


def test_binary_values_in_any_column_do_not_abort_reading(make):
    """SQLite accepts values of any type in any column; each table also has a usual row."""
    statements = []
    for table, row in ODD_ROWS.items():
        usual = {name: "1" if value is ODD else value for name, value in row.items()}
        insert = f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})"
        statements.append(f"CREATE TABLE {table} ({', '.join(row)})")
        statements += [(insert, (*row.values(),)), (insert, (*usual.values(),))]
    reading = SourceContents(make(*statements, artifact_uri=ODD))
    (ref,) = reading.refs
    assert reading.source.fingerprint(ref)
    assert len([event for event in reading.run_events() if isinstance(event, ModelLogged)]) == 2
    calls = Counter(event.method for event in reading.store if isinstance(event, StoreCalled))
    assert calls["create_model_version"] == calls["set_registered_model_alias"] == 4
    assert calls["register_scorer"] == calls["create_assessment"] == 4
    assert calls["start_trace"] == 2


def test_runs_are_ordered_by_experiment_with_deleted_ones_last(make):
    statement = "INSERT INTO experiments VALUES (?, ?, NULL, ?)"
    location = make((statement, (1, "gone", "deleted")), (statement, (2, "kept", "active")))
    with closing(sqlite3.connect(location)) as connection:
        for number, experiment in enumerate((1, 2, 2, 0), 1):
            add_run(connection, f"{number:032x}", experiment_id=experiment)
        connection.commit()
    reading = SourceContents(location)
    assert [ref.experiment_id for ref in reading.refs] == ["0", "0", "2", "2", "1"]
    assert reading.source.store()["uri"] == f"sqlite:///{location}"
    assert [call.arguments["name"] for call in reading.calls("create_experiment")] == [
        "Default",
        "kept",
        "gone",
    ]


# -- tables without an index by run -----------------------------------------------------


def test_large_tables_without_index_by_run_are_read_correctly(make):
    runs = [f"{number:032x}" for number in range(1, 31)]
    location = make()
    with closing(sqlite3.connect(location)) as connection:
        for run in runs:
            add_run(connection, run)
        for step in range(1000):
            for number, run in enumerate(runs):
                connection.execute(*metric("a", float(number), step, step, run=run))
        connection.commit()
    source = open_source(location)
    refs = {ref.run_id: ref for ref in source.runs()}
    before = {run: source.fingerprint(ref) for run, ref in refs.items()}
    assert len({*before.values()}) == 31
    for number, run in enumerate(runs):
        (event,) = (e for e in source.events(refs[run]) if isinstance(e, MetricsLogged))
        assert {*event.values} == {float(number)} and [*event.steps] == [*range(1000)]
    with closing(sqlite3.connect(location)) as connection:
        connection.execute(*metric("a", 1.0, 5000, 5000, run=runs[3]))
        connection.commit()
    (event,) = (e for e in source.events(refs[runs[3]]) if isinstance(e, MetricsLogged))
    assert len(event.values) == 1001
    assert {run for run in refs if source.fingerprint(refs[run]) != before[run]} == {runs[3]}
    source.close()


# -- fingerprints ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE runs SET status = 'FAILED'",
        "UPDATE runs SET end_time = end_time + 1",
        "UPDATE runs SET name = 'x'",
        "UPDATE params SET value = '2'",
        "DELETE FROM params",
        "INSERT INTO tags VALUES ('t', '1', run)",
        "UPDATE experiments SET name = 'renamed'",
        "UPDATE metrics SET value = 3.0 WHERE step = 1",
        "UPDATE metrics SET step = 7 WHERE step = 1",
        "UPDATE metrics SET timestamp = timestamp + 1 WHERE step = 1",
        "DELETE FROM metrics WHERE step = 1",
        "UPDATE metrics SET key = 'other' WHERE step = 1",
        "UPDATE metrics SET is_nan = 1 WHERE step = 0",
    ],
)
def test_fingerprint_changes_with_rows(make, change):
    points = [metric("a", float(step), 1_700_000_000_000 + step, step) for step in range(4)]
    points.append(metric("bytes", 2.0**70, 1_700_000_000_000, 0))
    location = make(*points, f"INSERT INTO params VALUES ('p', '1', '{RUN}')")
    source = open_source(location)
    (ref,) = source.runs()
    before = source.fingerprint(ref)
    assert source.fingerprint(ref) == before
    source.close()
    with closing(sqlite3.connect(location)) as connection:
        connection.execute(change.replace("run)", f"'{RUN}')"))
        connection.commit()
    assert open_source(location).fingerprint(ref) != before


def test_fingerprint_changes_with_artifacts(make, path):
    location = make(artifact_uri=f"{path.parent}/mlruns/0/{RUN}/artifacts")
    folder = path.parent / "mlruns" / "0" / RUN / "artifacts"
    source = open_source(location)
    (ref,) = source.runs()
    fingerprints = [source.fingerprint(ref)]
    folder.mkdir(parents=True)
    for content in ("a", "b\n"):
        (folder / "x.txt").write_text(content, "utf-8")
        fingerprints.append(source.fingerprint(ref))
    assert len({*fingerprints}) == 3


# -- traces and models ---------------------------------------------------------------------

TRACES = (
    """CREATE TABLE trace_info (request_id VARCHAR(50) PRIMARY KEY, experiment_id INTEGER,
        timestamp_ms BIGINT, execution_time_ms BIGINT, status VARCHAR(50))""",
    "CREATE TABLE trace_tags (key TEXT, value TEXT, request_id TEXT)",
    "CREATE TABLE trace_request_metadata (key TEXT, value TEXT, request_id TEXT)",
    """CREATE TABLE spans (trace_id TEXT, span_id TEXT, parent_span_id TEXT, name TEXT, type TEXT,
        status TEXT, start_time_unix_nano BIGINT, end_time_unix_nano BIGINT, content TEXT)""",
    """CREATE TABLE assessments (assessment_id TEXT, trace_id TEXT, name TEXT,
        assessment_type TEXT, value TEXT, created_timestamp BIGINT, valid BOOLEAN, mood TEXT)""",
    """CREATE TABLE entity_associations (association_id TEXT, source_type TEXT, source_id TEXT,
        destination_type TEXT, destination_id TEXT)""",
    "INSERT INTO trace_info VALUES ('tr-1', 0, 1700000000000, 5, 'OK')",
    f"INSERT INTO trace_request_metadata VALUES ('mlflow.sourceRun', '{RUN}', 'tr-1')",
)
LOCATION = "INSERT INTO trace_tags VALUES ('mlflow.artifactLocation', ?, 'tr-1')"


def run_calls(reading, method):
    events = reading.run_events(RUN)
    return [event for event in events if getattr(event, "method", "") == method]


def test_spans_are_read_from_artifacts(make, path):
    folder = path.parent / "mlruns" / "0" / "traces" / "tr-1" / "artifacts"
    folder.mkdir(parents=True)
    (folder / "traces.json").write_text('{"spans": [{"name": "a", "span_id": "1"}]}', "utf-8")
    (folder / "more.bin").write_bytes(b"x")
    uri = "/elsewhere/mlruns/0/traces/tr-1/artifacts"
    reading = SourceContents(make(*TRACES, (LOCATION, (uri,))))
    (start,) = run_calls(reading, "start_trace")
    info = start.arguments["trace_info"]
    assert (info["request_time"], info["execution_duration"]) == (1_700_000_000_000, 5)
    assert info["state"] == "OK" and info["response_preview"] is None
    (spans,) = run_calls(reading, "log_spans")
    assert spans.arguments["spans"] == [{"name": "a", "span_id": "1"}]
    (files,) = reading.select(ArtifactsLogged)
    assert files.owner == ("trace", "tr-1")
    assert [file["path"] for file in files.files] == ["more.bin", "traces.json"]
    assert reading.problems == []


@pytest.mark.parametrize("content", ["", "{torn", "[]"])
def test_columns_replace_missing_content_of_spans(make, content):
    row = ("INSERT INTO spans VALUES ('tr-1', 's', NULL, 'root', 'LLM', 'OK', 1, 2, ?)", (content,))
    reading = SourceContents(make(*TRACES, row))
    (call,) = run_calls(reading, "log_spans")
    (span,) = call.arguments["spans"]
    assert (span["name"], span["span_type"], span["status"]) == ("root", "LLM", {"code": "OK"})
    assert (span["start_time_unix_nano"], span["end_time_unix_nano"]) == (1, 2)
    (problem,) = reading.problems
    assert "tr-1" in problem.place and problem.lost


def test_assessments_of_each_kind(make):
    row = "INSERT INTO assessments VALUES (?, 'tr-1', 'n', ?, ?, ?, 1, 'sunny')"
    reading = SourceContents(
        make(
            *TRACES,
            (row, ("a-2", "feedback", "true", 2)),
            (row, ("a-1", "issue", '{"issue_name": "x"}', 1)),
            (row, ("a-3", "feedback", "{torn", 3)),
        )
    )
    calls = run_calls(reading, "create_assessment")
    issue, feedback = (call.arguments["assessment"] for call in calls)
    assert (issue["assessment_id"], feedback["assessment_id"]) == ("a-1", "a-2")
    assert issue["issue"] == {"issue_name": "x"} and feedback["feedback"] == {"value": True}
    assert feedback["mood"] == "sunny" and "valid" not in feedback
    (problem,) = reading.problems
    assert "a-3" in problem.place and problem.lost == "the assessment"


def test_links_of_traces_become_events(make):
    row = "INSERT INTO entity_associations VALUES ('1', ?, ?, ?, ?)"
    reading = SourceContents(
        make(
            *TRACES,
            (row, ("trace", "tr-1", "prompt_version", "a/b/3")),
            (row, ("trace", "tr-9", "run", RUN)),
            (row, ("cloud", "c", "sky", "s")),
        )
    )
    (prompts,) = run_calls(reading, "link_prompts_to_trace")
    assert prompts.arguments["prompt_versions"] == [{"name": "a/b", "version": "3"}]
    (traces,) = run_calls(reading, "link_traces_to_run")
    assert traces.arguments["trace_ids"] == ["tr-9"]
    (other,) = reading.calls("record_entity_associations")
    assert [row["source_type"] for row in other.arguments["rows"]] == ["cloud"]


def test_deleted_logged_model_is_created_and_deleted(make):
    table = """CREATE TABLE logged_models (model_id TEXT, experiment_id INTEGER, name TEXT,
        artifact_location TEXT, creation_timestamp_ms BIGINT, last_updated_timestamp_ms BIGINT,
        status INTEGER, lifecycle_stage TEXT, model_type TEXT, source_run_id TEXT,
        status_message TEXT)"""
    values = f"('m-1', 0, 'm', NULL, 1, 2, 2, 'deleted', '', '{RUN}', '')"
    row = f"INSERT INTO logged_models VALUES {values}"
    reading = SourceContents(make(table, row))
    created, deleted = reading.select(ModelLogged)
    assert created.status == "READY" and created.fields["lifecycle"] == "deleted"
    assert deleted.status == "DELETED" and deleted.name is None


def test_large_tables_are_split_into_several_events(make):
    location = make("CREATE TABLE jobs (id INTEGER, token_hash TEXT, params TEXT)")
    with closing(sqlite3.connect(location)) as connection:
        rows = ((i, "hush", "{}") for i in range(1200))
        connection.executemany("INSERT INTO jobs VALUES (?, ?, ?)", rows)
        connection.commit()
    calls = SourceContents(location).calls("record_jobs")
    rows = [row for call in calls for row in call.arguments["rows"]]
    assert sorted(row["id"] for row in rows) == [*range(1200)]
    assert {row["token_hash"] for row in rows} == {"(withheld)"}


# -- properties ----------------------------------------------------------------------------

values = st.sampled_from((0.0, 1.0, 2.0))
rows = st.lists(
    st.tuples(
        st.just("k"),
        st.integers(0, 1),
        st.integers(0, 1),
        values,
        st.booleans(),
        st.none() | st.sampled_from(("m-1", "m-2", "m-3")),
        st.none(),
        st.none(),
    ),
    max_size=12,
)


@given(rows)
def test_assign_models_yields_each_point_and_each_model_once(rows):
    # The result of the join: a row for each point and model, or for a point without one.
    models = {}
    for row in rows:
        models.setdefault(row[1:4], set()).add(row[5])
    joined = sorted(
        {
            (*row[:5], model, None, None)
            for row in rows
            for model in (models[row[1:4]] - {None} or {None})
        },
        key=lambda row: (row[1:5], row[5] or ""),
    )
    assigned = list(assign_models(joined))
    points = {row[:5] for row in rows}
    assert {row[:5] for row in assigned} == points
    for point, of_point in models.items():
        named = [row[5] for row in assigned if row[1:4] == point and row[5] is not None]
        assert sorted(named) == sorted(of_point - {None})
        equal = [row for row in points if row[1:4] == point]
        assert len([row for row in assigned if row[1:4] == point]) == max(len(equal), len(named))


def test_store_events_are_numbered(make):
    reading = SourceContents(make())
    assert [event.seq for event in reading.store] == list(range(len(reading.store)))
    assert all(isinstance(event, StoreCalled) for event in reading.store)
