"""Stores written by real old versions of MLflow are read field by field.

Each archive of ``migration/golden`` has the stores of one version, and what the program that
filled them logged. Only the tags that MLflow set by itself were read from a store.
"""

from __future__ import annotations

import json
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from yprov_mlflow.prov.events import (
    ArtifactsLogged,
    Event,
    InputsLogged,
    MetricsLogged,
    ModelLogged,
    OutputsLogged,
    ParamsLogged,
    RunCreated,
    RunUpdated,
    StoreCalled,
    TagsSet,
)
from yprov_mlflow.prov.sources import Problem, open_source

GOLDEN = Path(__file__).parents[2] / "migration" / "golden"
VERSIONS = [path.name.removesuffix(".tar.gz") for path in GOLDEN.glob("*.tar.gz")]

Json = Any


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


CASES = [
    (version, store)
    for version in sorted(VERSIONS, key=numbers)
    for store in ("tree", "database")
    if store == "tree" or numbers(version) >= (0, 9)
]


class Golden:
    """A store, the expected contents, and the events and problems of its source."""

    def __init__(self, version: str, store: str, folder: Path) -> None:
        self.version = numbers(version)
        self.in_database = store == "database"
        notes = json.loads((folder / "expected.json").read_text("utf-8"))
        assert notes["mlflow"] == version
        self.expected: dict[str, Json] = notes["stores"][store]
        path = folder / store / ("mlflow.db" if self.in_database else "mlruns")
        artifacts = str(folder / store / "mlruns") if self.in_database else None
        source = open_source(str(path), artifacts=artifacts)
        try:
            self.refs = {ref.run_id: ref for ref in source.runs()}
            self.runs = {run_id: list(source.events(ref)) for run_id, ref in self.refs.items()}
            self.store = list(source.store_events())
            self.problems: list[Problem] = source.problems()
        finally:
            source.close()

    def one(self, run_id: str, kind: type[Event]) -> Any:
        """Return the only event of a kind that a run has, or None."""
        found = [event for event in self.runs[run_id] if isinstance(event, kind)]
        assert len(found) <= 1
        return found[0] if found else None

    def all_events(self) -> Iterator[Event]:
        for events in self.runs.values():
            yield from events
        yield from self.store

    def calls(self, method: str) -> list[StoreCalled]:
        events = (event for event in self.all_events() if isinstance(event, StoreCalled))
        return [event for event in events if event.method == method]


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def golden(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Golden:
    version, store = request.param
    folder = tmp_path_factory.mktemp("golden")
    with tarfile.open(GOLDEN / f"{version}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return Golden(version, store, folder)


def test_archives_cover_all_major_versions() -> None:
    assert {(0, 9), (1, 0), (2, 0), (3, 1)} <= {numbers(version)[:2] for version in VERSIONS}


def test_no_problem_loses_content(golden: Golden) -> None:
    assert [problem for problem in golden.problems if problem.lost] == []


# -- runs ------------------------------------------------------------------------------------


def test_run_attributes(golden: Golden) -> None:
    assert golden.refs.keys() == golden.expected["runs"].keys()
    for run_id, page in golden.expected["runs"].items():
        created, updated = golden.one(run_id, RunCreated), golden.one(run_id, RunUpdated)
        attributes = {
            "experiment_id": created.experiment_id,
            "start_time": created.start_time_ms,
            "status": updated.status,
            "end_time": updated.end_time_ms,
            "deleted": updated.lifecycle == "deleted",
        }
        expected = {name: page[name] for name in attributes}
        if page["experiment_id"] in deleted_experiments(golden):
            expected["deleted"] = attributes[
                "deleted"
            ]  # versions differ in whether its runs are deleted, too
        assert attributes == expected
        assert (
            created.experiment_name == golden.expected["experiments"][page["experiment_id"]]["name"]
        )
        assert created.user_id == page["user"] or page["user"] is None
        if "deleted_time" in created.fields and "deleted_time" in page:
            assert created.fields["deleted_time"] == page["deleted_time"]
        ref = golden.refs[run_id]
        assert (ref.status, ref.start_time_ms) == (page["status"], page["start_time"])
        assert ref.experiment_id == page["experiment_id"]
        assert ref.lifecycle == ("deleted" if attributes["deleted"] else "active")


def deleted_experiments(golden: Golden) -> set[str]:
    return {key for key, page in golden.expected["experiments"].items() if page["deleted"]}


def test_run_names(golden: Golden) -> None:
    for run_id, page in golden.expected["runs"].items():
        created, tags = golden.one(run_id, RunCreated), golden.one(run_id, TagsSet)
        if page["name"] is not None:
            shown = tags.tags.get("mlflow.runName") if tags else None
            assert page["name"] in (created.run_name, shown)
            assert created.run_name in (page["name"], None, "")


def test_parent_runs(golden: Golden) -> None:
    parents = {run_id: page["parent"] for run_id, page in golden.expected["runs"].items()}
    found = {}
    for run_id in parents:
        tags = golden.one(run_id, TagsSet)
        found[run_id] = tags.tags.get("mlflow.parentRunId") if tags else None
    assert found == parents


def test_source_of_early_runs(golden: Golden) -> None:
    for run_id, page in golden.expected["runs"].items():
        if "source" in page:
            fields = golden.one(run_id, RunCreated).fields
            found = {"name": fields["source_name"], "version": fields["source_version"]}
            assert found == page["source"]


def test_params(golden: Golden) -> None:
    for run_id, page in golden.expected["runs"].items():
        event = golden.one(run_id, ParamsLogged)
        assert dict(event.params if event else {}) == page["params"]


def test_tags(golden: Golden) -> None:
    for run_id, page in golden.expected["runs"].items():
        event = golden.one(run_id, TagsSet)
        found = dict(event.tags if event else {})
        assert {key: found.get(key) for key in page["tags"]} == page["tags"]
        if page["more_tags"] is not None:
            assert found == {**page["more_tags"], **page["tags"]}


def test_metrics(golden: Golden) -> None:
    for run_id, page in golden.expected["runs"].items():
        found = points(golden, run_id)
        expected = {}
        for key, series in page["metrics"].items():
            expected[key] = [as_stored(golden, point) for point in series]
        if golden.in_database:  # it has no order of logging
            found = {key: sorted(series, key=repr) for key, series in found.items()}
            expected = {key: sorted(series, key=repr) for key, series in expected.items()}
        assert found == expected


def points(golden: Golden, run_id: str) -> dict[str, list[list[Json]]]:
    series_by_key: dict[str, list[list[Json]]] = {}
    for event in golden.runs[run_id]:
        if isinstance(event, MetricsLogged):
            count = len(event.keys)
            columns = zip(
                event.keys,
                event.values,
                event.timestamps_ms,
                event.steps,
                event.models or [None] * count,
                event.datasets or [None] * count,
                strict=True,
            )
            for key, value, *rest, data in columns:
                point = [repr(value), *rest, data and list(data)]
                series_by_key.setdefault(key, []).append(point)
    return series_by_key


def as_stored(golden: Golden, point: list[Json]) -> list[Json]:
    """Return a point as the store can hold it, its value as text: NaN is not equal to itself."""
    value, *rest = point
    value = float(value)
    if golden.in_database and value in (float("inf"), float("-inf")):
        value = sys.float_info.max if value > 0 else -sys.float_info.max  # MLflow replaces infinity
    return [repr(value), *rest]


def test_artifacts(golden: Golden) -> None:
    for run_id, page in golden.expected["runs"].items():
        assert files(golden.runs[run_id], None) == page["artifacts"]


def files(events: Iterator[Event] | list[Event], owner: tuple[str, str] | None) -> dict[str, Json]:
    return {
        file["path"]: [file["size"], file["sha256"]]
        for event in events
        if isinstance(event, ArtifactsLogged) and event.owner == owner
        for file in event.files
    }


def test_inputs_and_outputs(golden: Golden) -> None:
    for run_id, page in golden.expected["runs"].items():
        inputs, outputs = golden.one(run_id, InputsLogged), golden.one(run_id, OutputsLogged)
        found = [dict(data) for data in inputs.datasets] if inputs else []
        found += [{"model_id": model} for model in inputs.models] if inputs else []
        assert sorted(found, key=sort_key) == sorted(page["inputs"], key=sort_key)
        assert [list(pair) for pair in (outputs.models if outputs else [])] == page["outputs"]


def sort_key(entry: dict[str, Json]) -> str:
    return json.dumps(entry, sort_keys=True)


# -- store -----------------------------------------------------------------------------------


def test_experiments(golden: Golden) -> None:
    deleted = {call.subjects["experiment"] for call in golden.calls("delete_experiment")}
    experiments = {}
    for call in golden.calls("create_experiment"):
        experiment_id = call.arguments["experiment_id"]
        experiments[experiment_id] = {
            "name": call.arguments["name"],
            "deleted": experiment_id in deleted,
            "tags": call.arguments["tags"],
        }
        time_ms = golden.expected["experiments"][experiment_id].get("creation_time")
        if golden.version >= (1, 30) and time_ms:
            assert call.arguments["creation_time"] == time_ms
    expected = {
        key: {name: page[name] for name in ("name", "deleted", "tags")}
        for key, page in golden.expected["experiments"].items()
    }
    assert experiments == expected


def test_registered_models(golden: Golden) -> None:
    prompts = golden.expected["prompts"]
    models = {
        call.arguments["name"]: {
            "description": call.arguments["description"],
            "tags": call.arguments["tags"],
            "creation_time": call.arguments["creation_timestamp"],
            "aliases": {},
            "versions": {},
        }
        for call in golden.calls("create_registered_model")
        if call.arguments["name"] not in prompts
    }
    for call in golden.calls("create_model_version"):
        if call.arguments["name"] not in prompts:
            names = ("source", "run_id", "description", "tags", "model_id")
            version = {name: call.arguments.get(name) for name in names}
            version.update(stage=None, deleted=False)
            version["creation_time"] = call.arguments["creation_timestamp"]
            models[call.arguments["name"]]["versions"][str(call.arguments["version"])] = version
    for call in golden.calls("transition_model_version_stage"):
        version = models[call.arguments["name"]]["versions"][str(call.arguments["version"])]
        version["stage"] = call.arguments["stage"]
    for call in golden.calls("delete_model_version"):
        version = models[call.arguments["name"]]["versions"][str(call.arguments["version"])]
        version["deleted"] = True
    for call in golden.calls("set_registered_model_alias"):
        aliases = models[call.arguments["name"]]["aliases"]
        aliases[call.arguments["alias"]] = str(call.arguments["version"])
    expected = golden.expected["registered_models"]
    if golden.in_database:
        for model in expected.values():
            for version in model["versions"].values():
                version["model_id"] = None  # only a file store has it
                if version["deleted"]:  # MLflow overwrites deleted versions
                    version.update(source="REDACTED-SOURCE-PATH", run_id="REDACTED-RUN-ID")
    assert models == expected


def test_prompts(golden: Golden) -> None:
    prompts: dict[str, list[str]] = {}
    for call in golden.calls("create_model_version"):
        if call.arguments["name"] in golden.expected["prompts"]:
            text = call.arguments["tags"]["mlflow.prompt.text"]
            prompts.setdefault(call.arguments["name"], []).append(text)
    assert prompts == golden.expected["prompts"]


def test_logged_models(golden: Golden) -> None:
    models = {}
    for event in golden.all_events():
        if isinstance(event, ModelLogged):
            models[event.model_id] = {
                "name": event.name,
                "experiment_id": event.experiment_id,
                "model_type": event.model_type,
                "status": event.status,
                "params": event.params,
                "tags": event.tags,
                "creation_time": event.creation_time_ms,
                "artifacts": files(list(golden.all_events()), ("model", event.model_id)),
                "run_id": source_run(golden, event),
            }
    assert models == golden.expected["logged_models"]


def source_run(golden: Golden, event: ModelLogged) -> str | None:
    return event.run_id if event.run_id in golden.runs else None


def test_traces(golden: Golden) -> None:
    traces = {}
    for call in golden.calls("start_trace"):
        info = call.arguments["trace_info"]
        trace_id = call.subjects["trace"]
        traces[trace_id] = {
            "run_id": call.run_id if call.run_id in golden.runs else None,
            "state": info["state"],
            "request_time": info["request_time"],
            "execution_ms": info["execution_duration"],
            "tags": {
                key: value for key, value in info["tags"].items() if not key.startswith("mlflow.")
            },
            "spans": spans(golden, trace_id),
            "assessments": assessments(golden, trace_id),
        }
    assert traces == golden.expected["traces"]


def spans(golden: Golden, trace_id: str) -> dict[str, Json]:
    spans_by_name = {}
    for call in golden.calls("log_spans"):
        if call.subjects["trace"] == trace_id:
            for span in call.arguments["spans"]:
                said = {key: json.loads(value) for key, value in span["attributes"].items()}
                spans_by_name[span["name"]] = {
                    "inputs": said["mlflow.spanInputs"],
                    "type": said["mlflow.spanType"],
                }
    return spans_by_name


def assessments(golden: Golden, trace_id: str) -> dict[str, Json]:
    values = {}
    for call in golden.calls("create_assessment"):
        if call.subjects["trace"] == trace_id:
            assessment = call.arguments["assessment"]
            value = assessment.get("feedback") or assessment["expectation"]
            values[assessment["name"]] = value["value"]
    return values


def test_evaluation_data(golden: Golden) -> None:
    for dataset_id, page in golden.expected["evaluation_data"].items():
        about = [call for call in golden.store if dataset_id in str(call)]
        assert page["name"] in str(about)
        for record in page["records"]:
            assert record["inputs"]["question"] in str(about)
            assert record["expectations"]["answer"] in str(about)
