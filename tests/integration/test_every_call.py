"""``examples/every_call.py``, captured in four ways, produces documents with the same records."""

from __future__ import annotations

import ast
import collections
import json
import re
import time
from functools import cached_property
from pathlib import Path
from typing import Any

import mlflow
import pytest
from support.readers.documents import RunDocument, literal, literals

from integration.conftest import Sandbox, Server
from yprov_mlflow.prov.ids import offline_experiment
from yprov_mlflow.prov.journal import JournalDirectory, JournalReader, merge
from yprov_mlflow.prov.translate import translate

SCRIPT = Path(__file__).parents[2] / "examples" / "every_call.py"

RUNS = ("run", "child", "evaluation", "autologged", "client_run", "restored_run")
"""Runs that the script's process writes alone; another process takes part in ``project``."""

# -- the script uses every call --------------------------------------------------------------------


def _used() -> set[str]:
    """Return the attributes of ``mlflow`` and of ``client`` that the script uses."""
    tree = ast.parse(SCRIPT.read_text("utf-8"))
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in {"mlflow", "client"}
    }


def _declared() -> tuple[dict[str, str], dict[str, str]]:
    """Return the script's ``DOES_NOT_WRITE`` and ``CANNOT_BE_SHOWN``."""
    values: dict[str, dict[str, str]] = {}
    for node in ast.parse(SCRIPT.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name in {"DOES_NOT_WRITE", "CANNOT_BE_SHOWN"}:
                values[name] = ast.literal_eval(node.value)
    return values["DOES_NOT_WRITE"], values["CANNOT_BE_SHOWN"]


def _public() -> set[str]:
    methods = {name for name in dir(mlflow.MlflowClient) if not name.startswith("_")}
    return methods | set(mlflow.__all__)


@pytest.mark.skipif(
    not mlflow.__version__.startswith("3.17."), reason="the script was written for MLflow 3.17"
)
def test_script_uses_or_excludes_every_public_name() -> None:
    does_not_write, cannot_be_shown = _declared()
    unexplained = _public() - _used() - set(does_not_write) - set(cannot_be_shown)
    assert sorted(unexplained) == []
    assert sorted((set(does_not_write) | set(cannot_be_shown)) - _public()) == []
    assert all((*does_not_write.values(), *cannot_be_shown.values()))
    assert not set(cannot_be_shown) & _used()


EXPERIMENTS = {"1": "every call", "2": "every call, renamed later"}
"""Experiments by their id in a database. In an offline store, ids follow from names."""

# -- four ways to capture --------------------------------------------------------------------------


class CapturedScript:
    """Output, journal and documents of the script, captured in one of the ways."""

    def __init__(self, uri: str, results: dict[str, Any], err: str, journal: Path) -> None:
        self.uri = uri
        self.results = results
        self.err = err
        self.journal = journal
        self._documents: dict[str, RunDocument] = {}

    def document(self, name: str) -> RunDocument:
        if name not in self._documents:
            self._documents[name] = self.read_document(self.results[name])
        return self._documents[name]

    def read_document(self, run_id: str) -> RunDocument:
        if not self.uri.startswith("yprov:"):
            return RunDocument.fetch(run_id, self.uri)
        # Opening an offline store would capture it in the process of the tests.
        [path] = self.journal.glob(f"artifacts/*/{run_id}/artifacts/provenance/prov.json")
        text = path.read_text("utf-8")
        for number, name in EXPERIMENTS.items():
            text = text.replace(str(offline_experiment(name)), number)
        path.write_text(text, "utf-8")
        return RunDocument.load(path)

    @cached_property
    def store(self) -> RunDocument:
        """Return the document of the store: events without a run, or without one for the server."""
        [folder] = [f for f in JournalDirectory.all(self.journal) if f.run_id.startswith("store:")]
        events = merge([JournalReader(path) for path in folder.files()])
        return RunDocument(translate(events).to_json_object(), folder.path)

    @property
    def documents(self) -> list[RunDocument]:
        return [*map(self.document, RUNS), self.store]

    def of_type(self, kind: str) -> dict[str, dict[str, Any]]:
        """Return the records of a type in all documents, by id."""
        records: dict[str, dict[str, Any]] = {}
        for document in self.documents:
            for identifier, record in document.of_type(kind).items():
                records[identifier] = {**records.get(identifier, {}), **record}
        return records

    @cached_property
    def methods(self) -> set[str]:
        """Return the names of the store methods in the documents."""
        return {
            str(literal(activity.get("mlf:method")))
            for document in self.documents
            for activity in document.data["activity"].values()
        }


# Traces are sent synchronously: with MLflow's threads, the order of events would vary.
SETTINGS = {"MLFLOW_ENABLE_ASYNC_TRACE_LOGGING": "false", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}


@pytest.fixture(scope="module")
def by_uri(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> CapturedScript:
    sandbox = Sandbox(tmp_path_factory.mktemp("uri"), empty_database)
    done = sandbox.train(SCRIPT, f"yprov+{sandbox.sqlite}", **SETTINGS)
    return CapturedScript(sandbox.sqlite, done.json, done.err, sandbox.journal)


@pytest.fixture(scope="module")
def by_import(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> CapturedScript:
    sandbox = Sandbox(tmp_path_factory.mktemp("import"), empty_database)
    done = sandbox.train(SCRIPT, sandbox.sqlite, EVERY_CALL_IMPORT="yprov_mlflow", **SETTINGS)
    return CapturedScript(sandbox.sqlite, done.json, done.err, sandbox.journal)


@pytest.fixture(scope="module")
def by_offline(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> CapturedScript:
    sandbox = Sandbox(tmp_path_factory.mktemp("offline"), empty_database)
    uri = f"yprov:{sandbox.folder / 'runs'}"
    done = sandbox.train(SCRIPT, uri, **SETTINGS)
    return CapturedScript(uri, done.json, done.err, sandbox.folder / "runs")


@pytest.fixture(scope="module")
def by_server(
    tmp_path_factory: pytest.TempPathFactory,
    empty_database: Path,
    capturing_server: Server,
    interpreter_without_package: list[str],
) -> CapturedScript:
    """Run the script with plain MLflow against a server that captures."""
    sandbox = Sandbox(tmp_path_factory.mktemp("client"), empty_database)
    done = sandbox.call(
        *interpreter_without_package, str(SCRIPT), uri=capturing_server.uri, **SETTINGS
    )
    assert not sandbox.journals()
    # A server rewrites a document after two seconds without events of its run.
    time.sleep(5)
    return CapturedScript(
        capturing_server.uri, done.json, done.err, capturing_server.journal / "server"
    )


# -- declared differences --------------------------------------------------------------------------

_RANDOM = (
    (r"urn:uuid:[0-9a-f-]{36}", "urn:uuid:<uuid>"),
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<uuid>"),
    (r"\b([a-z]{1,3})-[0-9a-f]{32}", r"<\1>"),
    (r"\d{8}T\d{6}\.\d{6}-[0-9a-f]{8}", "<act>"),
    (r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])", "<run>"),
    (r"span/[0-9a-f]{16}", "span/<span>"),
    (r"(?!2023-11-14)\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(\+00:00|Z)?", "<time>"),
    (r"(?!17000000)1[789]\d{11}(?!\d)", "<ms>"),
    (r"(?!17000000)1[789]\d{17}(?!\d)", "<ns>"),
    (r"(run:metric/[^\"/]*/async_loss)/\d+", r"\1/<n>"),
)
"""Declared difference 1: random ids, the current time, and the order of asynchronous logging by
MLflow's threads. Timestamps that the script sets are compared."""

_SESSION = (
    *("mlf:pid", "mlf:token", "mlf:workingDirectory", "mlf:commandLine", "mlf:artifactUri"),
    *("mlf:uri", "schema:contentUrl", "mlf:side", "prov:label", "mlf:pythonVersion"),
    *("mlf:invocation", "mlf:codeNotKept"),
    *("mlf:executionDurationMs", "mlf:result", "mlf:spanFields", "mlf:sequence"),
)
"""Declared difference 2: facts about the session, locations and durations. Labels, results and span
fields contain such facts in JSON that repeats other attributes."""

_LOCATION_TAGS = ("mlflow.artifactLocation",)
"""Tags whose values are locations."""

_ENVIRONMENT_TYPES = {
    *("mlf:Environment", "mlf:Content", "sosa:Platform", "schema:SoftwareSourceCode"),
    *(
        "mlf:KeptFile",
        "mlf:Measuring",
        "mlf:Quantity",
        "mlf:Procedure",
        "mlf:SoftwareCarbonIntensity",
    ),
}
"""Declared difference 3: code, packages and host, which a server does not know of its clients, and
measurements, which always differ."""

_VARYING_FILES = re.compile(
    r"(MLmodel|conda\.yaml|python_env\.yaml|requirements\.txt|model\.skops|model\.pkl"
    r"|images/steps.*|.*\.json)$"
)
"""Declared difference 4: the contents of files in which MLflow stores ids and times."""


def _without_random_parts(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    for pattern, name in _RANDOM:
        text = re.sub(pattern, name, text)
    return text


def comparable_records(document: RunDocument) -> collections.Counter[str]:
    """Return the records of a document as text, without declared differences, with their number."""
    data = document.data
    environment = {
        identifier
        for section in ("entity", "activity", "agent")
        for identifier, record in data.get(section, {}).items()
        if _ENVIRONMENT_TYPES.intersection(literals(record.get("prov:type")))
    }
    result: collections.Counter[str] = collections.Counter()
    for section, records in data.items():
        if section == "prefix":
            continue
        for identifier, record in records.items():
            attributes = {key: value for key, value in record.items() if key not in _SESSION}
            if attributes.get("prov:plan") in environment:
                del attributes["prov:plan"]
            strings = {value for value in attributes.values() if isinstance(value, str)}
            if identifier in environment or environment & strings:
                continue
            if literal(record.get("schema:name")) in _LOCATION_TAGS:
                attributes.pop("prov:value", None)
            if literal(record.get("mlf:method")) == "start_trace":
                attributes.pop("mlf:arguments", None)  # compared in the record of the trace
            if "mlf:traceMetadata" in attributes:
                metadata = json.loads(attributes["mlf:traceMetadata"])
                # MLflow stores the size of JSON that contains ids and times.
                attributes["mlf:traceMetadata"] = {
                    key: value
                    for key, value in metadata.items()
                    if not key.startswith("mlflow.trace.size")
                }
            if _VARYING_FILES.search(str(literal(record.get("mlf:path", "")))):
                attributes.pop("mlf:sha256", None)
                attributes.pop("mlf:size", None)
            # Ids of relations are derived from their arguments.
            name = identifier if section in {"entity", "activity", "agent"} else ""
            text = f"{section} {_without_random_parts(name)} {_without_random_parts(attributes)}"
            result[text] += 1
    return result


def logged_to_run(records: collections.Counter[str]) -> collections.Counter[str]:
    """Return the records of data that was logged to the run itself.

    Declared difference 5: a server does not know which run is active in a client. So its document
    lacks traces, prompts, registrations and other calls that MLflow sends without a run.
    """
    logged = r'^entity "run:(param|metric|tag|artifact|folder|name|record)|^entity "sha256:'
    return collections.Counter({t: n for t, n in records.items() if re.search(logged, t)})


def assert_same_records(first: collections.Counter[str], second: collections.Counter[str]) -> None:
    only_first, only_second = first - second, second - first
    assert not only_first and not only_second, "\n".join(
        [
            f"{sum(only_first.values())} records only in the first, "
            f"{sum(only_second.values())} only in the second",
            *(f"- {line[:1500]}" for line in sorted(only_first)[:12]),
            *(f"+ {line[:1500]}" for line in sorted(only_second)[:12]),
        ]
    )


WAYS = ["by_uri", "by_import", pytest.param("by_offline", marks=pytest.mark.long), "by_server"]


@pytest.mark.parametrize("name", RUNS)
def test_dropin_import_and_uri_give_same_records(
    by_uri: CapturedScript, by_import: CapturedScript, name: str
) -> None:
    first, second = by_uri.document(name), by_import.document(name)
    assert_same_records(comparable_records(first), comparable_records(second))


@pytest.mark.long
@pytest.mark.parametrize("name", RUNS)
def test_database_and_offline_store_give_same_records(
    by_uri: CapturedScript, by_offline: CapturedScript, name: str
) -> None:
    first, second = by_uri.document(name), by_offline.document(name)
    assert_same_records(comparable_records(first), comparable_records(second))


@pytest.mark.parametrize("name", RUNS)
def test_client_and_server_give_same_records_of_run(
    by_uri: CapturedScript, by_server: CapturedScript, name: str
) -> None:
    first = logged_to_run(comparable_records(by_uri.document(name)))
    second = logged_to_run(comparable_records(by_server.document(name)))
    assert first
    assert_same_records(first, second)


@pytest.mark.parametrize("way", WAYS)
def test_prov_reads_documents_and_capture_reports_no_failure(
    way: str, request: pytest.FixtureRequest
) -> None:
    script: CapturedScript = request.getfixturevalue(way)
    assert "Provenance capture failed" not in script.err
    assert script.results["left_out"] == [] or "matplotlib" in str(script.results["left_out"])
    for name in RUNS:
        script.document(name).as_prov()


@pytest.mark.parametrize("way", ["by_uri", "by_import"])
def test_child_process_of_mlflow_project_is_captured(
    way: str, request: pytest.FixtureRequest
) -> None:
    # MLflow creates the run in this process, and the child process writes to it.
    document = request.getfixturevalue(way).document("project")
    assert document.values("depth_seen") == [4.0]
    assert len(document.sessions) == 2


def test_webhook_secret_is_not_recorded(by_uri: CapturedScript) -> None:
    assert "hush-hush" not in json.dumps([document.data for document in by_uri.documents])
    journals = [path for path in by_uri.journal.rglob("*") if path.is_file()]
    assert journals
    assert not [path for path in journals if b"hush-hush" in path.read_bytes()]


# -- effect of each call ---------------------------------------------------------------------------

EFFECTS = {
    "add_dataset_to_experiments": "call add_dataset_to_experiments",
    "add_trace": "span target of add_trace",
    "autolog": "autologged alpha",
    "copy_model_version": "call copy_model_version",
    "create_dataset": "call create_dataset",
    "create_experiment": "call create_experiment",
    "create_external_model": "model external_model",
    "create_logged_model": "model model_by_client",
    "create_mcp_access_endpoint": "call create_mcp_access_endpoint",
    "create_mcp_server": "call create_mcp_server",
    "create_mcp_server_version": "call create_mcp_server_version",
    "create_model_version": "call create_model_version",
    "create_prompt": "call create_prompt",
    "create_prompt_version": "call create_prompt_version",
    "create_registered_model": "call create_registered_model",
    "create_run": "status KILLED",
    "create_webhook": "call create_webhook",
    "delete_assessment": "call delete_assessment",
    "delete_dataset": "call delete_dataset",
    "delete_dataset_tag": "call delete_dataset_tag",
    "delete_experiment": "call delete_experiment",
    "delete_experiment_tag": "call delete_experiment_tag",
    "delete_logged_model": "model model_by_client",
    "delete_logged_model_tag": "model-tag deleted",
    "delete_mcp_access_endpoint": "call delete_mcp_access_endpoint",
    "delete_mcp_server": "call delete_mcp_server",
    "delete_mcp_server_alias": "call delete_mcp_server_alias",
    "delete_mcp_server_tag": "call delete_mcp_server_tag",
    "delete_mcp_server_version": "call delete_mcp_server_version",
    "delete_mcp_server_version_tag": "call delete_mcp_server_version_tag",
    "delete_model_version": "call delete_model_version",
    "delete_model_version_tag": "call delete_model_version_tag",
    "delete_prompt": "call delete_prompt",
    "delete_prompt_alias": "call delete_prompt_alias",
    "delete_prompt_tag": "call delete_prompt_tag",
    "delete_prompt_version": "call delete_prompt_version",
    "delete_prompt_version_tag": "call delete_prompt_version_tag",
    "delete_registered_model": "call delete_registered_model",
    "delete_registered_model_alias": "call delete_registered_model_alias",
    "delete_registered_model_tag": "call delete_registered_model_tag",
    "delete_run": "call delete_run",
    "delete_tag": "deleted-tag temporary",
    "delete_trace_tag": "call delete_trace_tag",
    "delete_traces": "call delete_traces",
    "delete_webhook": "call delete_webhook",
    "download_artifacts": "artifact texts/a.txt",
    "end_run": "status FAILED",
    "end_span": "span step",
    "end_trace": "span by client",
    "evaluate": "evaluated r2_score",
    "finalize_logged_model": "model model_by_hand",
    "flush_artifact_async_logging": "artifact client/image.png",
    "flush_async_logging": "metric async_loss 4",
    "flush_trace_async_logging": "call log_spans",
    "initialize_logged_model": "model model_by_hand",
    "link_prompt_version_to_model": "call link_prompt_version_to_model",
    "link_prompt_version_to_run": "call link_prompt_version_to_run",
    "link_prompt_versions_to_trace": "call link_prompts_to_trace",
    "link_traces_to_run": "call link_traces_to_run",
    "load_prompt": "tag mlflow.linkedPrompts",
    "log_artifact": "artifact a.txt",
    "log_artifacts": "artifact client/folder/deep/b c.txt",
    "log_assessment": "call create_assessment",
    "log_batch": "metric batch 8",
    "log_dict": "artifact client/dict.yaml",
    "log_expectation": "call create_assessment",
    "log_feedback": "call create_assessment",
    "log_figure": "artifact client/figure.png",
    "log_image": "artifact pixels.png",
    "log_input": "dataset train",
    "log_inputs": "dataset test",
    "log_issue": "call create_assessment",
    "log_metric": "metric loss 2",
    "log_metrics": "metric train/f1 1",
    "log_model_artifact": "model-file weights.bin",
    "log_model_artifacts": "model-file deep/b c.txt",
    "log_model_params": "model-param leaves",
    "log_outputs": "output model_by_hand",
    "log_param": "param optimizer",
    "log_params": "param data/path",
    "log_stream": "artifact stream.bin",
    "log_table": "artifact table.json",
    "log_text": "artifact notes/overwritten.txt",
    "log_trace": "span logged",
    "override_feedback": "call create_assessment",
    "register_model": "call create_model_version",
    "register_prompt": "call create_model_version",
    "remove_dataset_from_experiments": "call remove_dataset_from_experiments",
    "rename_experiment": "call rename_experiment",
    "rename_registered_model": "call rename_registered_model",
    "restore_experiment": "call restore_experiment",
    "restore_run": "call restore_run",
    "run": "status FINISHED",
    "set_dataset_tags": "call set_dataset_tags",
    "set_experiment": "status FINISHED",
    "set_experiment_tag": "call set_experiment_tag",
    "set_experiment_tags": "call set_experiment_tag",
    "set_logged_model_tags": "model-tag kept",
    "set_mcp_server_alias": "call set_mcp_server_alias",
    "set_mcp_server_tag": "call set_mcp_server_tag",
    "set_mcp_server_version_tag": "call set_mcp_server_version_tag",
    "set_model_version_tag": "call set_model_version_tag",
    "set_prompt_alias": "call set_prompt_alias",
    "set_prompt_tag": "call set_prompt_tag",
    "set_prompt_version_tag": "call set_prompt_version_tag",
    "set_registered_model_alias": "call set_registered_model_alias",
    "set_registered_model_tag": "call set_registered_model_tag",
    "set_tag": "tag stage",
    "set_tags": "tag team",
    "set_terminated": "status KILLED",
    "set_trace_tag": "call set_trace_tag",
    "start_run": "status FINISHED",
    "start_span": "span inside",
    "start_span_no_context": "span no context",
    "start_trace": "span by client",
    "trace": "span decorated",
    "transition_model_version_stage": "call transition_model_version_stage",
    "update_assessment": "call update_assessment",
    "update_current_trace": "trace updated",
    "update_mcp_access_endpoint": "call update_mcp_access_endpoint",
    "update_mcp_server": "call update_mcp_server",
    "update_mcp_server_version": "call update_mcp_server_version",
    "update_model_version": "call update_model_version",
    "update_registered_model": "call update_registered_model",
    "update_run": "renamed client_run",
    "update_webhook": "call update_webhook",
}
"""The effect of each call on the documents: the kind of a record and its name, or "call" and a
method of the store."""

OVER_REST = {
    "copy_model_version": "call create_model_version",
    "create_prompt": "call create_registered_model",
    "create_prompt_version": "call create_model_version",
    "delete_prompt": "call delete_registered_model",
    "delete_prompt_alias": "call delete_registered_model_alias",
    "delete_prompt_tag": "call delete_registered_model_tag",
    "delete_prompt_version": "call delete_model_version",
    "delete_prompt_version_tag": "call delete_model_version_tag",
    "link_prompt_version_to_model": "model-tag mlflow.linkedPrompts",
    "link_prompt_version_to_run": "tag mlflow.linkedPrompts",
    "set_prompt_alias": "call set_registered_model_alias",
    "set_prompt_tag": "call set_registered_model_tag",
    "set_prompt_version_tag": "call set_model_version_tag",
}
"""Declared difference 6: MLflow's REST API, and so its server, treats prompts as models."""


def _has_effect(script: CapturedScript, effect: str) -> bool:
    document = script.document("run")
    kind, _, name = effect.partition(" ")
    match kind:
        case "call":
            return name in script.methods
        case "param":
            return name in document.params
        case "metric":
            key, _, count = name.rpartition(" ")
            return len(set(document.points.get(key, ()))) == int(count)
        case "tag":
            return name in document.tags
        case "deleted-tag":
            return name not in document.tags and bool(document.tag_history(name))
        case "artifact":
            return bool(document.artifacts.get(name))
        case "dataset":
            return name in document.datasets
        case "output":
            return any(
                script.results[name] in relation["prov:entity"]
                for relation in document.relations("wasGeneratedBy")
            )
        case "span":
            return name in {span.get("prov:label") for span in script.of_type("mlf:Span").values()}
        case "status":
            return name in {script.document(run).status for run in RUNS}
        case "autologged":
            return name in script.document("autologged").params
        case "evaluated":
            return name in script.document("evaluation").points
        case "renamed":
            return script.document(name).name == "renamed"
        case "trace":
            tags = script.of_type("mlf:Tag")
            return name in _names({k: v for k, v in tags.items() if ":trace/" in k})
        case "model":
            return script.results[name] in document.models
        case "model-tag" | "model-param" | "model-file":
            types = {"tag": "mlf:Tag", "param": "mlf:Param", "file": "mlf:Artifact"}
            records = script.of_type(types[kind.removeprefix("model-")])
            of_models = {k: v for k, v in records.items() if ":logged-model/" in k}
            paths = {literal(record.get("mlf:path")) for record in of_models.values()}
            return name in _names(of_models) | paths
    raise AssertionError(f"unknown effect: {effect}")


def _names(records: dict[str, dict[str, Any]]) -> set[Any]:
    return {literal(record.get("schema:name")) for record in records.values()}


def test_every_call_has_expected_effect() -> None:
    does_not_write, _ = _declared()
    calls = (_used() & _public()) - set(does_not_write) - {"Image"}
    assert sorted(calls ^ set(EFFECTS)) == []


@pytest.mark.parametrize("way", WAYS)
def test_documents_have_effect_of_every_call(way: str, request: pytest.FixtureRequest) -> None:
    script: CapturedScript = request.getfixturevalue(way)
    effects = {**EFFECTS, **(OVER_REST if way == "by_server" else {})}
    missing = {call: effect for call, effect in effects.items() if not _has_effect(script, effect)}
    assert missing == {}


def test_overwritten_file_and_tag_keep_first_version(by_uri: CapturedScript) -> None:
    document = by_uri.document("run")
    assert document.tag_history("stage") == ["draft", "final"]
    assert len(document.artifact_versions("notes/overwritten.txt")) == 2
