"""A run logged live and the conversion of the store that it went to give the same document.

What differs is declared here, with the reason; all else of the two documents has to be equal.
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

from integration.conftest import Workplace
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
        for what, key, value in program["calls"]:
            if what == "param":
                mlflow.log_param(key, value)
            elif what == "tag":
                mlflow.set_tag(key, value)
            elif what == "text":
                mlflow.log_text(value, key)
            elif what == "data":
                import numpy
                read = mlflow.data.from_numpy(numpy.array(value), name=key)
                mlflow.log_input(read, context="training")
            else:
                mlflow.log_metric(key, float(value[0]), step=value[1])
    if program["deleted"]:
        mlflow.delete_run(run.info.run_id)
    print(json.dumps(run.info.run_id))
"""

# Only a live session knows what ran it: these records, and relations to them, are left out.
OF_PROCESSES = {
    "mlf:RunSession": "the process",
    "prov:SoftwareAgent": "its software",
    "mlf:Environment": "its packages",
    "mlf:Package": "its packages",
    "sosa:Platform": "its host",
    "prov:Plan": "its code: commit, differences, digest; a store has the name of the script",
    "mlf:Collection": "its collectors at work",
    "mlf:Facts": "what they found out",
    "mlf:Quantity": "what they measured",
    "mlf:SoftwareCarbonIntensity": "what that comes to",
}
# A store does not know when params, tags and files came, nor by which process.
RELATIONS = ("used", "wasGeneratedBy", "wasInvalidatedBy")
# A store tells when a run was deleted, capture in which call; who sees it last, the order.
OF_DELETION = {"mlf:fields", "mlf:sequence"}
# MLflow keeps times in ms, a journal in ns.
MILLISECONDS = re.compile(r"(\.\d{3})\d{3}")


def comparable(document: dict[str, Any]) -> dict[str, list[str]]:
    """Give the records of a document by section, without what is declared above."""
    gone = {
        identifier
        for section in ("entity", "activity", "agent")
        for identifier, record in document.get(section, {}).items()
        if not OF_PROCESSES.keys().isdisjoint(types(record))
    }
    sessions = {one for one in gone if one.startswith("run:session/")}
    gone -= sessions
    found: dict[str, list[str]] = {}
    for section, records in document.items():
        if section in ("prefix", "actedOnBehalfOf", "wasStartedBy", "wasAssociatedWith"):
            continue
        for identifier, record in records.items():
            ends = {value for value in record.values() if isinstance(value, str)}
            if identifier in gone | sessions or not gone.isdisjoint(ends):
                continue
            told = [identifier] if section in ("entity", "activity", "agent") else []
            text = json.dumps([*told, shown(section, record, sessions)], sort_keys=True)
            text = re.sub(r"run:event/delete/[\w.-]+", "run:event/delete", text)
            found.setdefault(section, []).append(MILLISECONDS.sub(r"\1", text))
    return {section: sorted(texts) for section, texts in found.items()}


def shown(section: str, record: dict[str, Any], sessions: set[str]) -> dict[str, Any]:
    """Give a record as both documents should have it: done by the run, at no known time."""
    kept = {key: value for key, value in record.items() if key not in OF_DELETION}
    if section in RELATIONS:
        kept.pop("prov:time", None)
        if kept["prov:activity"] in sessions:
            kept["prov:activity"] = "run:run"
    return kept


def types(record: dict[str, Any]) -> set[str]:
    found = record.get("prov:type", [])
    return {one["$"] for one in (found if isinstance(found, list) else [found])}


KEYS = st.text(string.ascii_letters + string.digits + "_-./ ", min_size=1, max_size=20).map(
    lambda key: f"k{key.strip('./ ')}".replace("//", "_").replace("..", "_").replace("./", "_")
)
VALUES = st.one_of(
    st.integers(-(10**6), 10**6),
    # MLflow's databases have no negative zero and the largest number for infinity.
    st.floats(allow_nan=False, allow_infinity=False, width=32).map(lambda value: value + 0.0),
    st.just(float("nan")),
)


@st.composite
def programs(draw: st.DrawFn) -> dict[str, Any]:
    """Draw what one run logs; steps of a metric go up, as time does."""
    keys = draw(st.lists(KEYS, unique_by=lambda key: key.lower(), max_size=10))
    calls: list[tuple[str, str, Any]] = []
    for number, key in enumerate(keys):
        what = draw(st.sampled_from(["param", "tag", "text", "metric", "metric", "data"]))
        if what == "metric":
            values = draw(st.lists(VALUES, min_size=1, max_size=5))
            calls += [(what, key, [str(v), step]) for step, v in enumerate(values)]
        elif what == "text":
            calls.append((what, f"folder/{number}.txt", draw(st.text(max_size=20))))
        elif what == "data":
            calls.append((what, key, draw(st.lists(st.integers(0, 9), min_size=1, max_size=4))))
        else:
            calls.append((what, key, draw(st.text(string.printable, max_size=50))))
    return {"name": draw(KEYS), "calls": calls, "deleted": draw(st.booleans())}


bounded = settings(
    max_examples=4,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # an example takes seconds
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.mark.parametrize("backend", ["sqlite", "files"])
@bounded
@given(data=st.lists(programs(), min_size=6, max_size=6))
def test_live_equals_converted(
    tmp_path_factory: pytest.TempPathFactory,
    empty_database: Path,
    backend: str,
    data: list[dict[str, Any]],
) -> None:
    workplace = Workplace(tmp_path_factory.mktemp("workplace"), empty_database)
    uri: str = getattr(workplace, backend)
    (workplace.folder / "programs.json").write_text(json.dumps(data))
    out = workplace.run(LOG, f"yprov+{uri}", "programs.json").out
    run_ids = [json.loads(line) for line in out.splitlines() if line.startswith('"')]
    assert len(run_ids) == len(data)
    converted = workplace.folder / "converted"
    conversion = Conversion(Request(uri, converted), InlineExecutor())
    assert [result.problems for result in conversion if result.problems] == []
    for run_id in run_ids:
        [path] = converted.glob(f"*/{run_id}/prov.json")
        [artifact] = workplace.folder.rglob(f"{run_id}/artifacts/provenance/prov.json")
        live = json.loads(artifact.read_bytes())
        if "delete_run" not in str(live.get("activity")) and "delete_run" in path.read_text():
            live = latest(workplace, run_id)
        assert comparable(json.loads(path.read_bytes())) == comparable(live)


# -- what belongs to no run --------------------------------------------------------------

CHANGE = """
import json, sys
import mlflow

client = mlflow.MlflowClient()
for what, name, key, value in json.load(open(sys.argv[1])):
    if what == "experiment":
        client.set_experiment_tag(client.create_experiment(name), key, value)
    elif what == "registered model":
        client.create_registered_model(name, {key: value}, "A model.")
        client.create_model_version(name, "dummy-source", tags={key: value})
        client.set_registered_model_alias(name, "champion", "1")
        client.set_model_version_tag(name, "1", key, value)
        client.update_model_version(name, "1", "The first.")
    elif what == "prompt":
        mlflow.genai.register_prompt(name, "Greet {{name}}.", tags={key: value})
        mlflow.genai.set_prompt_alias(name, "production", 1)
    elif what == "logged model":
        model = client.create_logged_model("0", name, tags={key: value})
        client.set_logged_model_tags(model.model_id, {f"{key} 2": value})
        client.finalize_logged_model(model.model_id, "READY")
    else:
        with mlflow.start_span(name) as span:
            span.set_inputs({key: value})
        mlflow.flush_trace_async_logging()
        mlflow.set_trace_tag(span.trace_id, key, value)
        mlflow.log_feedback(trace_id=span.trace_id, name=name, value=True)
"""

# A store keeps its own times, authors and defaults for what a call did not say.
OF_STORES = {
    "artifact_location": "the store chooses it",
    "artifacts": "files are seen when they are uploaded, and where they are now",
    "creation_time_ms": "the time of the call, and of the row that it made",
    "fields": "columns that no call has as an argument",
    "last_update_time_ms": "as the creation",
    "last_updated_ms": "as the creation",
    "valid": "true is the default, which sources omit",
}


@st.composite
def changes(draw: st.DrawFn) -> list[tuple[str, str, str, str]]:
    """Draw changes of what belongs to no run, each to something of its own."""
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
    """Return what the documents say of everything that belongs to no single run."""
    builder = StateBuilder()
    for path in paths:
        for document in open_documents(path):
            builder.feed(events_of(document))
    return declared(dataclasses.asdict(builder.finish()))


def declared(value: Any) -> Any:
    """Leave out what only one side can know."""
    if isinstance(value, dict):
        return {key: declared(item) for key, item in value.items() if key not in OF_STORES}
    return [declared(item) for item in value] if isinstance(value, list) else value


@settings(bounded, max_examples=2)
@given(data=changes())
def test_registry_models_and_traces_live_equal_converted(
    tmp_path_factory: pytest.TempPathFactory,
    empty_database: Path,
    data: list[tuple[str, str, str, str]],
) -> None:
    workplace = Workplace(tmp_path_factory.mktemp("workplace"), empty_database)
    (workplace.folder / "changes.json").write_text(json.dumps(data))
    workplace.run(CHANGE, f"yprov+{workplace.sqlite}", "changes.json")
    workplace.yprov("recover")
    converted = workplace.folder / "converted"
    conversion = Conversion(Request(workplace.sqlite, converted), InlineExecutor())
    problems = [problem for result in conversion for problem in result.problems]
    assert [p for p in problems if "artifacts are not reachable" not in p.reason] == []
    [live_path] = workplace.journal.glob("stores/*/prov.json")
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
    del stored["experiments"]["0"]  # MLflow's default experiment is older than the capture
    assert differences(live, stored) == []


def subjects(path: Path) -> dict[str, set[str]]:
    """Return for each method of a store the kinds of things that its calls name as subjects."""
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


def latest(workplace: Workplace, run_id: str) -> dict[str, Any]:
    """Give the document of a run with what came after its end."""
    workplace.yprov("recover", "--run", run_id, "--again")
    [path] = workplace.folder.rglob(f"{run_id}/artifacts/provenance/prov.json")
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found
