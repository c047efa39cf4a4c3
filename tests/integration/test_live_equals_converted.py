"""The document of a captured run equals the one that is converted from its store afterwards.

All allowed differences are declared in this module, with reasons.
"""

from __future__ import annotations

import dataclasses
import json
import re
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from integration.conftest import Sandbox
from yprov_mlflow.prov.convert import Conversion, Request
from yprov_mlflow.prov.convert.executors import InlineExecutor
from yprov_mlflow.prov.formats import open_documents
from yprov_mlflow.prov.restore.replay import StateBuilder
from yprov_mlflow.prov.translate import events_of

LOG = """
import json, sys
import mlflow

for program in json.load(open(sys.argv[1])):
    with mlflow.start_run(run_name=program["name"], log_system_metrics=False) as run:
        for kind, key, value in program["calls"]:
            if kind == "param":
                mlflow.log_param(key, value)
            elif kind == "tag":
                mlflow.set_tag(key, value)
            elif kind == "text":
                mlflow.log_text(value, key)
            elif kind == "data":
                import numpy
                dataset = mlflow.data.from_numpy(numpy.array(value), name=key)
                mlflow.log_input(dataset, context="training")
            else:
                mlflow.log_metric(key, float(value[0]), step=value[1])
    if program["deleted"]:
        mlflow.delete_run(run.info.run_id)
    print(json.dumps(run.info.run_id))
"""

# Types of records that only capture can produce; they and relations to them are not compared.
ONLY_CAPTURED = {
    "mlf:RunSession": "the process",
    "prov:SoftwareAgent": "its software",
    "mlf:Environment": "its packages",
    "mlf:Package": "its packages",
    "sosa:Platform": "its host",
    "prov:Plan": "its code: commit, differences, digest; a store has the name of the script",
    "mlf:Measuring": "the activities of its collectors",
    "mlf:Facts": "their facts about the hardware",
    "mlf:Quantity": "their measurements",
    "mlf:SoftwareCarbonIntensity": "emissions calculated from these",
}
# A store does not record when params, tags and files were logged, nor by which process.
RELATIONS = ("used", "wasGeneratedBy", "wasInvalidatedBy")
# A store records the time of a deletion, capture records the call and its place in the order.
OF_DELETION = {"mlf:fields", "mlf:sequence"}
# MLflow stores times in ms, the journal in ns.
MILLISECONDS = re.compile(r"(\.\d{3})\d{3}")


def comparable(document: dict[str, Any]) -> dict[str, list[str]]:
    """Return the records of a document by section, without the differences declared above."""
    ignored = {
        identifier
        for section in ("entity", "activity", "agent")
        for identifier, record in document.get(section, {}).items()
        if not ONLY_CAPTURED.keys().isdisjoint(types(record))
    }
    sessions = {identifier for identifier in ignored if identifier.startswith("run:session/")}
    ignored -= sessions
    result: dict[str, list[str]] = {}
    for section, records in document.items():
        if section in ("prefix", "actedOnBehalfOf", "wasStartedBy", "wasAssociatedWith"):
            continue
        for identifier, record in records.items():
            arguments = {value for value in record.values() if isinstance(value, str)}
            if identifier in ignored | sessions or not ignored.isdisjoint(arguments):
                continue
            name = [identifier] if section in ("entity", "activity", "agent") else []
            text = json.dumps([*name, normalized(section, record, sessions)], sort_keys=True)
            text = re.sub(r"run:event/delete/[\w.-]+", "run:event/delete", text)
            result.setdefault(section, []).append(MILLISECONDS.sub(r"\1", text))
    return {section: sorted(texts) for section, texts in result.items()}


def normalized(section: str, record: dict[str, Any], sessions: set[str]) -> dict[str, Any]:
    """Return a record with the run in place of its session, and without times of relations."""
    attributes = {key: value for key, value in record.items() if key not in OF_DELETION}
    if section in RELATIONS:
        attributes.pop("prov:time", None)
        if attributes["prov:activity"] in sessions:
            attributes["prov:activity"] = "run:run"
    return attributes


def types(record: dict[str, Any]) -> set[str]:
    values = record.get("prov:type", [])
    return {value["$"] for value in (values if isinstance(values, list) else [values])}


KEYS = st.text(string.ascii_letters + string.digits + "_-./ ", min_size=1, max_size=20).map(
    lambda key: f"k{key.strip('./ ')}".replace("//", "_").replace("..", "_").replace("./", "_")
)
VALUES = st.one_of(
    st.integers(-(10**6), 10**6),
    # MLflow's databases store -0.0 as 0.0 and infinity as the largest number.
    st.floats(allow_nan=False, allow_infinity=False, width=32).map(lambda value: value + 0.0),
    st.just(float("nan")),
)


@st.composite
def programs(draw: st.DrawFn) -> dict[str, Any]:
    """Draw the calls of one run; the steps of a metric increase with time."""
    keys = draw(st.lists(KEYS, unique_by=lambda key: key.lower(), max_size=10))
    calls: list[tuple[str, str, Any]] = []
    for number, key in enumerate(keys):
        kind = draw(st.sampled_from(["param", "tag", "text", "metric", "metric", "data"]))
        if kind == "metric":
            values = draw(st.lists(VALUES, min_size=1, max_size=5))
            calls += [(kind, key, [str(v), step]) for step, v in enumerate(values)]
        elif kind == "text":
            calls.append((kind, f"folder/{number}.txt", draw(st.text(max_size=20))))
        elif kind == "data":
            calls.append((kind, key, draw(st.lists(st.integers(0, 9), min_size=1, max_size=4))))
        else:
            calls.append((kind, key, draw(st.text(string.printable, max_size=50))))
    return {"name": draw(KEYS), "calls": calls, "deleted": draw(st.booleans())}


few_examples = settings(
    max_examples=4,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # an example takes seconds
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.mark.parametrize("backend", ["sqlite", "files"])
@few_examples
@given(data=st.lists(programs(), min_size=6, max_size=6))
def test_live_equals_converted(
    tmp_path_factory: pytest.TempPathFactory,
    empty_database: Path,
    backend: str,
    data: list[dict[str, Any]],
) -> None:
    sandbox = Sandbox(tmp_path_factory.mktemp("sandbox"), empty_database)
    uri: str = getattr(sandbox, backend)
    (sandbox.folder / "programs.json").write_text(json.dumps(data))
    out = sandbox.train(LOG, f"yprov+{uri}", "programs.json").out
    run_ids = [json.loads(line) for line in out.splitlines() if line.startswith('"')]
    assert len(run_ids) == len(data)
    converted = sandbox.folder / "converted"
    conversion = Conversion(Request(uri, converted), InlineExecutor())
    assert [result.problems for result in conversion if result.problems] == []
    for run_id in run_ids:
        [path] = converted.glob(f"*/{run_id}/prov.json")
        [artifact] = sandbox.folder.rglob(f"{run_id}/artifacts/provenance/prov.json")
        live = json.loads(artifact.read_bytes())
        if "delete_run" not in str(live.get("activity")) and "delete_run" in path.read_text():
            live = rewritten_document(sandbox, run_id)
        assert comparable(json.loads(path.read_bytes())) == comparable(live)


# -- experiments, registry, logged models and traces -------------------------------------

CHANGE = """
import json, sys
import mlflow

client = mlflow.MlflowClient()
for kind, name, key, value in json.load(open(sys.argv[1])):
    if kind == "experiment":
        client.set_experiment_tag(client.create_experiment(name), key, value)
    elif kind == "registered model":
        client.create_registered_model(name, {key: value}, "A model.")
        client.create_model_version(name, "dummy-source", tags={key: value})
        client.set_registered_model_alias(name, "champion", "1")
        client.set_model_version_tag(name, "1", key, value)
        client.update_model_version(name, "1", "The first.")
    elif kind == "prompt":
        mlflow.genai.register_prompt(name, "Greet {{name}}.", tags={key: value})
        mlflow.genai.set_prompt_alias(name, "production", 1)
    elif kind == "logged model":
        model = client.create_logged_model("0", name, tags={key: value})
        client.set_logged_model_tags(model.model_id, {f"{key} 2": value})
        client.finalize_logged_model(model.model_id, "READY")
    else:
        with mlflow.start_span(name) as span:
            span.set_inputs({key: value})
        mlflow.set_trace_tag(span.trace_id, key, value)
        mlflow.log_feedback(trace_id=span.trace_id, name=name, value=True)
"""

# A store chooses times, authors and defaults itself if a call does not pass them.
ALLOWED_DIFFERENCES = {
    "artifact_location": "chosen by the store",
    "artifacts": "capture sees uploads, a source sees the files that exist later",
    "creation_time_ms": "the time of the call, or of the database row",
    "fields": "columns that are not arguments of any call",
    "last_update_time_ms": "like the creation time",
    "last_updated_ms": "like the creation time",
    "duration_ms": "the store computes it again from the spans",
    "mlflow.trace.spansLocation": "the store notes where it keeps the spans",
    "valid": "true is the default, which sources omit",
}


@st.composite
def changes(draw: st.DrawFn) -> list[tuple[str, str, str, str]]:
    """Draw changes outside of runs, each of a different object."""
    kinds = ["experiment", "registered model", "prompt", "logged model", "trace"]
    names = draw(
        st.lists(
            st.text(string.ascii_lowercase, min_size=1, max_size=8),
            unique=True,
            min_size=5,
            max_size=8,
        )
    )
    text = st.text(string.ascii_letters + string.digits + " ", min_size=1, max_size=20)
    return [
        (kinds[i % len(kinds)], name, f"key {i}", draw(text.map(str.strip).filter(bool)))
        for i, name in enumerate(names)
    ]


def shared_state(paths: list[Path]) -> dict[str, Any]:
    """Return the state of all objects outside of runs that the documents describe."""
    builder = StateBuilder()
    for path in paths:
        for document in open_documents(path):
            builder.feed(events_of(document))
    return without_allowed(dataclasses.asdict(builder.finish()))


def without_allowed(value: Any) -> Any:
    """Return a JSON value without the keys of the allowed differences."""
    if isinstance(value, dict):
        items = value.items()
        return {key: without_allowed(v) for key, v in items if key not in ALLOWED_DIFFERENCES}
    return [without_allowed(item) for item in value] if isinstance(value, list) else value


@settings(few_examples, max_examples=2)
@given(data=changes())
def test_registry_models_and_traces_live_equal_converted(
    tmp_path_factory: pytest.TempPathFactory,
    empty_database: Path,
    data: list[tuple[str, str, str, str]],
) -> None:
    sandbox = Sandbox(tmp_path_factory.mktemp("sandbox"), empty_database)
    (sandbox.folder / "changes.json").write_text(json.dumps(data))
    # The store completes a trace differently when spans and trace arrive in another order.
    settings = {"MLFLOW_ENABLE_ASYNC_TRACE_LOGGING": "false"}
    sandbox.train(CHANGE, f"yprov+{sandbox.sqlite}", "changes.json", **settings)
    sandbox.yprov("recover")
    converted = sandbox.folder / "converted"
    conversion = Conversion(Request(sandbox.sqlite, converted), InlineExecutor())
    problems = [problem for result in conversion for problem in result.problems]
    assert [p for p in problems if "artifacts are not reachable" not in p.reason] == []
    [live_path] = sandbox.journal.glob("stores/*/prov.json")
    stored_path = converted / "store" / "prov.json"
    live_subjects, stored_subjects = subjects(live_path), subjects(stored_path)
    shared = live_subjects.keys() & stored_subjects.keys()
    assert {"create_registered_model", "create_model_version", "create_experiment"} <= shared
    assert [
        (m, live_subjects[m], stored_subjects[m])
        for m in shared
        if live_subjects[m] != stored_subjects[m]
    ] == []
    live, stored = shared_state([live_path]), shared_state([stored_path])
    del stored["experiments"]["0"]  # the default experiment existed before capture began
    assert differences(live, stored) == []


def subjects(path: Path) -> dict[str, set[str]]:
    """Return the kinds of the subjects of all calls of each store method."""
    result: dict[str, set[str]] = {}
    for record in json.loads(path.read_bytes())["activity"].values():
        if "mlf:subjects" in record:
            result.setdefault(record["mlf:method"], set()).update(
                json.loads(record["mlf:subjects"])
            )
    return result


def differences(left: Any, right: Any, path: str = "") -> list[str]:
    """Return the paths at which two JSON values differ, with both values."""
    if isinstance(left, dict) and isinstance(right, dict):
        keys = sorted({*left, *right}, key=str)
        return [d for k in keys for d in differences(left.get(k), right.get(k), f"{path}/{k}")]
    return [] if left == right else [f"{path}: {left!r} != {right!r}"]


def rewritten_document(sandbox: Sandbox, run_id: str) -> dict[str, Any]:
    """Write a run's document again, with the events after its end, and return it."""
    sandbox.yprov("recover", "--run", run_id, "--again")
    [path] = sandbox.folder.rglob(f"{run_id}/artifacts/provenance/prov.json")
    document: dict[str, Any] = json.loads(path.read_bytes())
    return document
