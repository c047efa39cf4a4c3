"""Spans and assessments stand in the document of the run that MLflow says owns their trace.

Random programs trace in several runs and threads, and in none. ``MlflowClient`` says afterwards
which trace belongs to which run; each document, and that of the store, must have exactly these.
"""

from __future__ import annotations

import json
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random

import pytest
from support.readers.documents import RunDocument, literal

from integration.conftest import Sandbox, Server
from yprov_mlflow.prov.convert import Conversion, Request
from yprov_mlflow.prov.convert.executors import InlineExecutor
from yprov_mlflow.prov.sources import open_source
from yprov_mlflow.prov.translate.store_calls.spans import span_key

TRACE = """
import base64, contextlib, json, queue, sys, threading, time
import mlflow
from mlflow.entities import Span
from mlflow.tracing.client import TracingClient

# MLflow's queue of traces waits for a second each time that it is flushed.
get = queue.Queue.get
queue.Queue.get = lambda self, block=True, timeout=None: get(self, block, timeout and timeout / 20)

client, tracing = mlflow.MlflowClient(), TracingClient()
program, prefix = json.load(open(sys.argv[1])), sys.argv[2]
experiments = [client.create_experiment(f"{prefix} {number}") for number in range(2)]
mlflow.set_experiment(experiment_id=experiments[0])
runs, traces, unended, unflushed = [], [], [], []
is_file_store = mlflow.get_tracking_uri().startswith("file:")


def run():
    new = mlflow.start_run(experiment_id=experiments[len(runs) % 2])
    runs.append(new.info.run_id)
    return new


def trace(spans, name=None):
    name = name or f"root {len(traces)}"
    with mlflow.start_span(name) as root:
        root.set_inputs({"secret": name})
        for number in range(spans - 1):
            with mlflow.start_span(f"step {number}") as step:
                step.set_outputs(name)
    traces.append(root.trace_id)
    unflushed.append(root.trace_id)


def flush():
    if unflushed:
        unflushed.clear()
        mlflow.flush_trace_async_logging()


def stored(number):
    flush()
    return client.get_trace(traces[number % len(traces)]).data.spans


def log(spans):
    if not is_file_store:  # which logs no spans
        tracing.log_spans(experiments[0], spans)


def copied(span, number):
    # A span of a trace that never starts by a call of its own, as OpenTelemetry's clients log it.
    fields, name = span.to_dict(), f"{abs(hash(prefix)) % 2**64:016x}{number:016x}"
    fields["trace_id"] = base64.b64encode(bytes.fromhex(name)).decode()
    own = {"mlflow.traceRequestId": json.dumps("tr-" + name)}
    fields["attributes"] = {**fields["attributes"], **own}
    return Span.from_dict(fields)


def together(threads):
    def work(spans):
        if spans % 2:
            with run():
                trace(spans)
        else:
            trace(spans)

    started = [threading.Thread(target=work, args=(spans,)) for spans in threads]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()


def act(number, kind, value):
    if kind == "trace":
        trace(value)
    elif kind == "threads":
        together([value, value + 1])
    elif kind == "late":
        unended.append(mlflow.start_span_no_context(f"late {number}", inputs={"secret": number}))
    elif kind == "elsewhere":  # in an experiment that is not the run's
        for experiment in experiments:
            mlflow.start_span_no_context(f"{number}", experiment_id=experiment).end()
            unflushed.append(number)
    elif not traces:
        return
    elif kind == "again":
        log([span for i in range(value + 1) for span in stored(i)])
    elif kind == "foreign":
        copies = [copied(span, 100 * number + i) for i in range(value) for span in stored(i)]
        log(copies[:1])  # the first trace arrives in two batches
        log(copies[1:])
    elif kind == "assess":
        flush()
        mlflow.log_feedback(trace_id=traces[value % len(traces)], name=f"f{number}", value=True)
    elif kind == "tag":
        flush()
        mlflow.set_trace_tag(traces[value % len(traces)], f"t{number}", "x")
    elif kind == "link" and mlflow.active_run() and not is_file_store:  # which has no links
        flush()
        client.link_traces_to_run([traces[value % len(traces)]], mlflow.active_run().info.run_id)


for number, (in_run, actions) in enumerate(program):
    with run() if in_run else contextlib.nullcontext():
        for offset, action in enumerate(actions):
            act(10 * number + offset, *action)
for span in unended:
    span.end()
    unflushed.append(span.trace_id)
flush()
print(json.dumps({"runs": runs, "experiments": experiments}))
"""

KINDS = "trace trace threads late elsewhere again foreign assess tag link".split()
Program = list[tuple[bool, list[tuple[str, int]]]]
"""Parts of a program, in a run or in none, each with its actions."""


def random_program(seed: int) -> Program:
    """Return a program with every kind of batch; what comes between varies."""
    random = Random(seed)

    def actions() -> list[tuple[str, int]]:
        return [(random.choice(KINDS), random.randint(1, 3)) for _ in range(random.randint(1, 4))]

    between: Program = [(random.random() < 0.5, actions()) for _ in range(random.randint(2, 4))]
    last = [("elsewhere", 1), ("again", 4), ("assess", 1), ("tag", 2), ("threads", 1), ("late", 1)]
    return [
        (True, [("trace", 2)]),
        (True, [("trace", 1), ("foreign", 2)]),
        *between,
        (False, [("trace", 3), ("again", 3), ("late", 1)]),
        (True, last),
    ]


Owned = dict[str, set[str]]
"""Spans and assessments by run, or by "store": each as the end of its id in a document."""


def truth(uri: str, experiments: Iterable[str]) -> Owned:
    """Return what plain MLflow says, for these experiments."""
    from mlflow import MlflowClient

    owned: Owned = defaultdict(set)
    token: str | None = ""
    while token is not None:
        page = MlflowClient(uri).search_traces(
            locations=list(experiments), max_results=50, page_token=token or None
        )
        for trace in page:
            owner = owned[trace.info.trace_metadata.get("mlflow.sourceRun") or "store"]
            base = f"trace/{trace.info.trace_id}"
            spans = [f"{base}/span/{span.span_id}" for span in trace.data.spans]
            assert len(set(spans)) == len(spans)
            owner.update(spans)
            owner.update(f"{base}/assessment/{a.assessment_id}" for a in trace.info.assessments)
        token = page.token or None
    return owned


def described(path_or_document: Path | RunDocument, only: Iterable[str] = ()) -> set[str]:
    """Return the spans and assessments that a document has records of."""
    document = (
        RunDocument.load(path_or_document)
        if isinstance(path_or_document, Path)
        else path_or_document
    )
    pattern = re.compile(r"trace/([^/]+)/(span|assessment)/[^/]+$")
    kinds = ("mlf:Span", "mlf:Assessment")
    # A parent that is only mentioned has no label.
    records = {i: record for kind in kinds for i, record in document.of_type(kind).items()}
    ids = {identifier for identifier, record in records.items() if "prov:label" in record}
    matches = {match for identifier in ids if (match := pattern.search(identifier))}
    wanted = set(only)
    return {match[0] for match in matches if not wanted or match[1] in wanted}


def read_from_store(uri: str, runs: Iterable[str]) -> Owned:
    """Return what conversion reads from the store alone, without the documents of capture."""
    source = open_source(uri)
    parts = {ref.run_id: source.events(ref) for ref in source.runs() if ref.run_id in set(runs)}
    parts["store"] = source.store_events()
    read: Owned = {owner: set() for owner in parts}
    for owner, events in parts.items():
        for event in events:
            method = getattr(event, "method", "")
            if method == "log_spans":
                keys = [span_key(span) for span in event.arguments["spans"]]
                names = [f"trace/{key[0]}/span/{key[1]}" for key in keys if key is not None]
                assert len(names) == len(keys) and not read[owner] & set(names)
                read[owner].update(names)
            elif method == "create_assessment":
                ids = event.subjects
                read[owner].add(f"trace/{ids['trace']}/assessment/{ids['assessment']}")
    return read


def traces_of(owned: Owned) -> set[str]:
    return {name.split("/")[1] for names in owned.values() for name in names}


def assert_no_foreign_text(document: RunDocument, own: set[str]) -> None:
    """Assert that no inputs of spans are in the document that are not of its own traces."""
    text = json.dumps(document.data)
    for identifier, record in document.of_type("mlf:SpanInput").items():
        assert identifier.partition(":")[2].rpartition("/")[0] in own, literal(record["prov:value"])
    assert text.count('"mlf:SpanInput"') == len(document.of_type("mlf:SpanInput"))


def run_program(sandbox: Sandbox, uri: str, program: Program, prefix: str) -> dict[str, list[str]]:
    (sandbox.folder / "program.json").write_text(json.dumps(program))
    done = sandbox.train(
        TRACE, uri, "program.json", prefix, MLFLOW_ENABLE_ASYNC_TRACE_LOGGING="true"
    )
    assert "Provenance capture failed" not in done.err
    result: dict[str, list[str]] = done.json
    assert result["runs"]
    return result


@pytest.mark.parametrize(
    ("backend", "seed"), [("sqlite", 1), pytest.param("files", 2, marks=pytest.mark.long)]
)
def test_live_and_converted_documents_have_the_spans_of_their_run(
    sandbox: Sandbox, backend: str, seed: int
) -> None:
    uri: str = getattr(sandbox, backend)
    result = run_program(sandbox, f"yprov+{uri}", random_program(seed), "live")
    owned = truth(uri, result["experiments"])
    assert owned["store"]
    for run_id in result["runs"]:
        document = sandbox.document(run_id, uri)
        assert described(document) == owned[run_id]
        assert_no_foreign_text(document, owned[run_id])
    sandbox.yprov("recover", uri=uri)
    [store] = sandbox.journal.glob("stores/*/prov.json")
    assert described(store) == owned["store"]
    converted = sandbox.folder / "converted"
    conversion = Conversion(Request(uri, converted), InlineExecutor())
    assert [outcome.problems for outcome in conversion if outcome.problems] == []
    for run_id in result["runs"]:
        [path] = converted.glob(f"*/{run_id}/prov.json")
        assert described(path) == owned[run_id]
    assert described(converted / "store" / "prov.json") == owned["store"]
    assert read_from_store(uri, result["runs"]) == owned


def test_documents_of_a_server_have_the_spans_of_their_run(
    sandbox: Sandbox, capturing_server: Server
) -> None:
    uri = capturing_server.uri
    result = run_program(sandbox, uri, random_program(3), sandbox.folder.name)
    owned = truth(uri, result["experiments"])
    for run_id in result["runs"]:
        assert_eventually(
            lambda run_id=run_id: described(RunDocument.fetch(run_id, uri)), owned[run_id]
        )
    environment = {"YPROV_MLFLOW_DIR": str(capturing_server.journal)}
    sandbox.call("yprov-mlflow", "recover", uri=uri, check=False, **environment)
    [store] = (capturing_server.journal / "server").glob("stores/*/prov.json")
    assert described(store, traces_of(owned)) == owned["store"]
    read = read_from_store(uri, result["runs"])
    own = traces_of(owned)
    read["store"] = {name for name in read["store"] if name.split("/")[1] in own}
    assert read == owned


def assert_eventually(actual: Callable[[], set[str]], expected: set[str]) -> None:
    """Wait for the documents that a server writes after a run's late events."""
    end = time.monotonic() + 20
    while actual() != expected and time.monotonic() < end:
        time.sleep(0.5)
    assert actual() == expected


REMOVE = """
import json, sys
import mlflow

client, traces, runs = mlflow.MlflowClient(), [], []
experiment = mlflow.set_experiment("removal").experiment_id
for name in ("first", "second", None):
    active = mlflow.start_run(run_name=name) if name else None
    with mlflow.start_span("root") as span:
        pass
    traces.append(span.trace_id)
    model = client.create_logged_model(
        experiment, f"model of {name}", source_run_id=active and active.info.run_id
    )
    if active:
        mlflow.end_run()
        runs.append(active.info.run_id)
    runs.append(model.model_id)
mlflow.flush_trace_async_logging()
print(json.dumps({"traces": traces, "runs": runs}))
"""

BY_ANOTHER_PROCESS = """
import json, sys
import mlflow

client, made = mlflow.MlflowClient(), json.loads(sys.argv[1])
experiment = mlflow.set_experiment("removal").experiment_id
with mlflow.start_run() as run:
    for model_id in made["runs"][1::2] + made["runs"][-1:]:
        client.set_logged_model_tags(model_id, {"checked": "yes"})
        client.delete_logged_model(model_id)
    client.delete_traces(experiment, trace_ids=made["traces"])
    mlflow.set_tracking_uri(sys.argv[2])  # the trace names a run of another store
    mlflow.set_experiment("elsewhere")
    with mlflow.start_span("root of another store"):
        pass
    mlflow.flush_trace_async_logging()
    mlflow.set_tracking_uri(None)
print(json.dumps(run.info.run_id))
"""


def test_removal_by_another_run_is_filed_with_each_owner(sandbox: Sandbox) -> None:
    uri = f"yprov+{sandbox.sqlite}"
    made = sandbox.train(REMOVE, uri).json
    other = f"yprov+sqlite:///{sandbox.folder / 'other.db'}"
    remover = sandbox.train(BY_ANOTHER_PROCESS, uri, json.dumps(made), other).json
    sandbox.yprov("recover", uri=sandbox.sqlite)
    stores = [RunDocument.load(path) for path in sandbox.journal.glob("stores/*/prov.json")]
    [store] = [document for document in stores if "root of another" not in str(document.data)]
    [elsewhere] = [document for document in stores if document is not store]
    assert len(elsewhere.of_type("mlf:Span")) == 1
    first, model_1, second, model_2, model_3 = made["runs"]
    documents = [
        (sandbox.document(first), made["traces"][0], model_1),
        (sandbox.document(second), made["traces"][1], model_2),
        (store, made["traces"][2], model_3),
    ]
    for document, trace, model in documents:
        calls = document.of_type("mlf:StoreOperation").values()
        [call] = [c for c in calls if literal(c["mlf:method"]) == "delete_traces"]
        assert json.loads(literal(call["mlf:arguments"]))["trace_ids"] == [trace]
        assert "mlf:result" not in call  # MLflow's number is that of all
        models = document.of_type("mlf:LoggedModel")
        assert [i.rpartition("/")[2] for i in models] == [model]
        assert any("tag/checked" in identifier for identifier in document.data["entity"])
    document = sandbox.document(remover)
    assert not document.of_type("mlf:LoggedModel") and not document.of_type("mlf:Trace")


KILLED = """
import base64, json, os, sys
import mlflow
from mlflow.entities import Span
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.tracing.client import TracingClient

start_trace = SqlAlchemyStore.start_trace


def kill(*args, **kwargs):
    print(json.dumps(run.info.run_id), flush=True)
    os.kill(os.getpid(), 9)


def killed_after_start(self, *args, **kwargs):
    start_trace(self, *args, **kwargs)
    kill()


with mlflow.start_run() as run:
    if sys.argv[1] == "after":
        SqlAlchemyStore.start_trace = killed_after_start
    with mlflow.start_span("root") as root:
        pass
    # A trace that this process does not know, as OpenTelemetry's clients log it.
    fields = root.to_dict()
    fields["trace_id"] = base64.b64encode(bytes(16)).decode()
    own = {"mlflow.traceRequestId": json.dumps("tr-" + 32 * "0")}
    fields["attributes"] = {**fields["attributes"], **own}
    TracingClient().log_spans("0", [Span.from_dict(fields)])
    kill()
"""


@pytest.mark.parametrize("killed", ["before", "after"])
def test_spans_before_a_kill_are_in_the_document_of_their_owner(
    sandbox: Sandbox, killed: str
) -> None:
    """``killed`` before or after the trace of the last spans has started."""
    uri = f"yprov+{sandbox.sqlite}"
    synchronous = {"MLFLOW_ENABLE_ASYNC_TRACE_LOGGING": "false"}
    run_id = sandbox.train(KILLED, uri, killed, check=False, **synchronous).json
    sandbox.yprov("recover", "--yes", uri=sandbox.sqlite)
    owned = truth(sandbox.sqlite, ["0"])
    assert len(owned[run_id]) == 1 and len(owned["store"]) == (killed == "before")
    assert described(sandbox.document(run_id)) == owned[run_id]
    stores = sandbox.journal.glob("stores/*/prov.json")
    assert {name for store in stores for name in described(store)} == owned["store"]
