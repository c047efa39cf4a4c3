"""One script that uses every call of MLflow that writes: captured in three ways, one story."""

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

from integration.conftest import Server, Workplace
from integration.documents import RunDocument, literal, literals
from yprov_mlflow.prov.journal import JournalDirectory, JournalReader, merge
from yprov_mlflow.prov.translate import translate

SCRIPT = Path(__file__).parents[2] / "examples" / "every_call.py"

RUNS = ("run", "child", "evaluation", "autologged", "client_run", "restored_run")
"""The runs that every way sees whole; the project's is written by another process."""

# -- the script uses every call --------------------------------------------------------------------


def _used() -> set[str]:
    """Give the names that the script takes from ``mlflow`` and from its client."""
    tree = ast.parse(SCRIPT.read_text("utf-8"))
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in {"mlflow", "client"}
    }


def _declared() -> tuple[dict[str, str], dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for node in ast.parse(SCRIPT.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name in {"DOES_NOT_WRITE", "NOT_HERE"}:
                found[name] = ast.literal_eval(node.value)
    return found["DOES_NOT_WRITE"], found["NOT_HERE"]


def _public() -> set[str]:
    methods = {name for name in dir(mlflow.MlflowClient) if not name.startswith("_")}
    return methods | set(mlflow.__all__)


@pytest.mark.skipif(
    not mlflow.__version__.startswith("3.17."), reason="the script was written for MLflow 3.17"
)
def test_script_uses_every_call_or_says_why_not() -> None:
    does_not_write, not_here = _declared()
    unexplained = _public() - _used() - set(does_not_write) - set(not_here)
    # Image is a class that the script makes one of.
    assert sorted(unexplained) == []
    assert sorted((set(does_not_write) | set(not_here)) - _public()) == []
    assert all((*does_not_write.values(), *not_here.values()))
    assert not set(not_here) & _used()


# -- the three ways --------------------------------------------------------------------------------


class Way:
    """What one way of capture made of the script."""

    def __init__(self, uri: str, made: dict[str, Any], err: str, journal: Path) -> None:
        self.uri = uri
        self.made = made
        self.err = err
        self.journal = journal
        self._documents: dict[str, RunDocument] = {}

    def document(self, name: str) -> RunDocument:
        if name not in self._documents:
            self._documents[name] = RunDocument.fetch(self.made[name], self.uri)
        return self._documents[name]

    @cached_property
    def store(self) -> RunDocument:
        """What belongs to no run, or to none that the server could know."""
        [folder] = [f for f in JournalDirectory.all(self.journal) if f.run_id.startswith("store:")]
        events = merge([JournalReader(path) for path in folder.files()])
        return RunDocument(translate(events).to_json_object(), folder.path)

    @property
    def documents(self) -> list[RunDocument]:
        return [*map(self.document, RUNS), self.store]

    def of_type(self, kind: str) -> dict[str, dict[str, Any]]:
        """Give the things of a type that any of the documents speaks of."""
        found: dict[str, dict[str, Any]] = {}
        for document in self.documents:
            for identifier, record in document.of_type(kind).items():
                found[identifier] = {**found.get(identifier, {}), **record}
        return found

    @cached_property
    def methods(self) -> set[str]:
        return {
            str(literal(activity.get("mlf:method")))
            for document in self.documents
            for activity in document.data["activity"].values()
        }


# Traces are sent at once: their threads would tell the story in another order each time.
SETTINGS = {"MLFLOW_ENABLE_ASYNC_TRACE_LOGGING": "false", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}


@pytest.fixture(scope="module")
def by_uri(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Way:
    place = Workplace(tmp_path_factory.mktemp("uri"), empty_database)
    done = place.run(SCRIPT, f"yprov+{place.sqlite}", **SETTINGS)
    return Way(place.sqlite, done.made, done.err, place.journal)


@pytest.fixture(scope="module")
def by_import(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Way:
    place = Workplace(tmp_path_factory.mktemp("import"), empty_database)
    done = place.run(SCRIPT, place.sqlite, EVERY_CALL_IMPORT="yprov_mlflow", **SETTINGS)
    return Way(place.sqlite, done.made, done.err, place.journal)


@pytest.fixture(scope="module")
def by_server(
    tmp_path_factory: pytest.TempPathFactory,
    empty_database: Path,
    capturing_server: Server,
    interpreter_without_package: list[str],
) -> Way:
    """The client has plain MLflow and nothing else."""
    place = Workplace(tmp_path_factory.mktemp("client"), empty_database)
    done = place.call(
        *interpreter_without_package, str(SCRIPT), uri=capturing_server.uri, **SETTINGS
    )
    assert not place.journals()
    # A server writes a document again when its run has been quiet for two seconds.
    time.sleep(5)
    return Way(capturing_server.uri, done.made, done.err, capturing_server.journal / "server")


# -- what may differ -------------------------------------------------------------------------------

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
"""Declared difference 1: what chance and the clock give, such as the order in which MLflow's
threads write what was logged asynchronously; fixed instants stay."""

_SESSION = (
    *("mlf:pid", "mlf:token", "mlf:workingDirectory", "mlf:commandLine", "mlf:artifactUri"),
    *("mlf:uri", "schema:contentUrl", "mlf:side", "prov:label", "mlf:pythonVersion"),
    *("mlf:executionDurationMs", "mlf:result", "mlf:spanFields", "mlf:sequence"),
)
"""Declared difference 2: facts of the session, where the store is, how long things took; labels,
results and fields of spans repeat what is there, with such facts in their JSON."""

_PLACES = ("mlflow.artifactLocation",)
"""Tags whose values are such facts."""

_FACTS = {
    *("mlf:Environment", "mlf:Package", "sosa:Platform", "schema:SoftwareSourceCode"),
    *("mlf:Collection", "mlf:Quantity", "mlf:Procedure", "mlf:SoftwareCarbonIntensity"),
}
"""Declared difference 3: code, packages and host, which a server cannot know of its clients, and
what was measured, which is never the same twice."""

_VARYING_FILES = re.compile(
    r"(MLmodel|conda\.yaml|python_env\.yaml|requirements\.txt|model\.skops|model\.pkl"
    r"|images/steps.*|.*\.json)$"
)
"""Declared difference 4: the bytes of files into which MLflow writes ids and times."""


def _plain(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    for pattern, name in _RANDOM:
        text = re.sub(pattern, name, text)
    return text


def story(document: RunDocument) -> collections.Counter[str]:
    """Give all that a document says, without what may differ; equal records are counted."""
    data = document.data
    facts = {
        identifier
        for section in ("entity", "activity", "agent")
        for identifier, record in data.get(section, {}).items()
        if _FACTS.intersection(literals(record.get("prov:type")))
    }
    told: collections.Counter[str] = collections.Counter()
    for section, records in data.items():
        if section == "prefix":
            continue
        for identifier, record in records.items():
            kept = {key: value for key, value in record.items() if key not in _SESSION}
            if kept.get("prov:plan") in facts:
                del kept["prov:plan"]
            if identifier in facts or facts & {v for v in kept.values() if isinstance(v, str)}:
                continue
            if literal(record.get("schema:name")) in _PLACES:
                kept.pop("prov:value", None)
            if literal(record.get("mlf:method")) == "start_trace":
                kept.pop("mlf:arguments", None)  # the trace's own record tells them
            if "mlf:traceMetadata" in kept:
                metadata = json.loads(kept["mlf:traceMetadata"])
                # MLflow counts bytes of JSON with ids and times in it.
                kept["mlf:traceMetadata"] = {
                    key: value
                    for key, value in metadata.items()
                    if not key.startswith("mlflow.trace.size")
                }
            if _VARYING_FILES.search(str(literal(record.get("mlf:path", "")))):
                kept.pop("mlf:sha256", None)
                kept.pop("mlf:size", None)
            # Ids of relations repeat their ends.
            named = identifier if section in {"entity", "activity", "agent"} else ""
            told[f"{section} {_plain(named)} {_plain(kept)}"] += 1
    return told


def of_the_run(told: collections.Counter[str]) -> collections.Counter[str]:
    """Keep what was logged to the run itself.

    Declared difference 5: a server does not know which run is open in a client, so that traces,
    prompts, registrations and the like, which MLflow sends without a run, are not in its document.
    """
    logged = r'^entity "run:(param|metric|tag|artifact|folder|name|record)|^entity "sha256:'
    return collections.Counter({t: n for t, n in told.items() if re.search(logged, t)})


def assert_same_story(one: collections.Counter[str], other: collections.Counter[str]) -> None:
    only_one, only_other = one - other, other - one
    assert not only_one and not only_other, "\n".join(
        [
            f"{sum(only_one.values())} records only in the first, "
            f"{sum(only_other.values())} only in the second",
            *(f"- {line[:1500]}" for line in sorted(only_one)[:12]),
            *(f"+ {line[:1500]}" for line in sorted(only_other)[:12]),
        ]
    )


@pytest.mark.parametrize("name", RUNS)
def test_import_and_uri_tell_the_same_story(by_uri: Way, by_import: Way, name: str) -> None:
    assert_same_story(story(by_uri.document(name)), story(by_import.document(name)))


@pytest.mark.parametrize("name", RUNS)
def test_client_and_server_tell_the_same_story(by_uri: Way, by_server: Way, name: str) -> None:
    one, other = story(by_uri.document(name)), story(by_server.document(name))
    assert of_the_run(one)
    assert_same_story(of_the_run(one), of_the_run(other))


@pytest.mark.parametrize("way", ["by_uri", "by_import", "by_server"])
def test_documents_are_read_by_prov_and_capture_never_failed(
    way: str, request: pytest.FixtureRequest
) -> None:
    found: Way = request.getfixturevalue(way)
    assert "Provenance capture failed" not in found.err
    assert found.made["left_out"] == [] or "matplotlib" in str(found.made["left_out"])
    for name in RUNS:
        found.document(name).as_prov()


@pytest.mark.parametrize("way", ["by_uri", "by_import"])
def test_child_process_of_a_project_is_captured_too(
    way: str, request: pytest.FixtureRequest
) -> None:
    """MLflow makes the run here and another process writes to it."""
    document = request.getfixturevalue(way).document("project")
    assert document.values("depth_seen") == [4.0]
    assert len(document.sessions) == 2


def test_secret_of_the_webhook_is_nowhere(by_uri: Way) -> None:
    assert "hush-hush" not in json.dumps([document.data for document in by_uri.documents])
    journals = [path for path in by_uri.journal.rglob("*") if path.is_file()]
    assert journals
    assert not [path for path in journals if b"hush-hush" in path.read_bytes()]


# -- the effect of each call -----------------------------------------------------------------------

EFFECTS = {
    # name of the call: what it left, as "<what> <name>" or as the method of the store
    "add_dataset_to_experiments": "call add_dataset_to_experiments",
    "add_trace": "span takes another in",
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
    "delete_logged_model_tag": "model-tag gone",
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
    "delete_tag": "ended temporary",
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
"""What each call leaves in the documents: something of a kind, or a call to the store."""

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
"""Declared difference 6: to MLflow's REST interface, and so to a server, prompts are models."""


def _found(way: Way, effect: str) -> bool:
    document = way.document("run")
    word, _, rest = effect.partition(" ")
    match word:
        case "call":
            return rest in way.methods
        case "param":
            return rest in document.params
        case "metric":
            key, _, count = rest.rpartition(" ")
            return len(set(document.points.get(key, ()))) == int(count)
        case "tag":
            return rest in document.tags
        case "ended":
            return rest not in document.tags and bool(document.tag_history(rest))
        case "artifact":
            return bool(document.artifacts.get(rest))
        case "dataset":
            return rest in document.datasets
        case "output":
            return any(
                way.made[rest] in relation["prov:entity"]
                for relation in document.relations("wasGeneratedBy")
            )
        case "span":
            return rest in {span.get("prov:label") for span in way.of_type("mlf:Span").values()}
        case "status":
            return rest in {way.document(name).status for name in RUNS}
        case "autologged":
            return rest in way.document("autologged").params
        case "evaluated":
            return rest in way.document("evaluation").points
        case "renamed":
            return way.document(rest).name == "renamed"
        case "trace":
            tags = way.of_type("mlf:Tag")
            return rest in _names({k: v for k, v in tags.items() if ":trace/" in k})
        case "model":
            return way.made[rest] in document.models
        case "model-tag" | "model-param" | "model-file":
            kind = {"tag": "mlf:Tag", "param": "mlf:Param", "file": "mlf:Artifact"}[word[6:]]
            found = {k: v for k, v in way.of_type(kind).items() if ":logged-model/" in k}
            return rest in _names(found) | {literal(r.get("mlf:path")) for r in found.values()}
    raise AssertionError(f"no such effect: {effect}")


def _names(records: dict[str, dict[str, Any]]) -> set[Any]:
    return {literal(record.get("schema:name")) for record in records.values()}


def test_every_call_has_an_effect_to_look_for() -> None:
    does_not_write, _ = _declared()
    calls = (_used() & _public()) - set(does_not_write) - {"Image"}
    assert sorted(calls ^ set(EFFECTS)) == []


@pytest.mark.parametrize("way", ["by_uri", "by_import", "by_server"])
def test_effect_of_every_call_is_in_the_documents(way: str, request: pytest.FixtureRequest) -> None:
    found: Way = request.getfixturevalue(way)
    effects = {**EFFECTS, **(OVER_REST if way == "by_server" else {})}
    missing = {call: effect for call, effect in effects.items() if not _found(found, effect)}
    assert missing == {}


def test_overwritten_file_and_tag_keep_their_first_versions(by_uri: Way) -> None:
    document = by_uri.document("run")
    assert document.tag_history("stage") == ["draft", "final"]
    assert len(document.artifact_versions("notes/overwritten.txt")) == 2
