"""Several workers of one server write about the same runs, and each document has all of it.

Two processes act as workers where the order of the calls matters; the last test uses a server.
"""

from __future__ import annotations

import contextlib
import functools
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from support.readers.documents import RunDocument

from integration.conftest import Sandbox, Server

CALLS = """
import base64, json, sys, threading, time
import mlflow
from mlflow.entities import Span, TraceInfo, TraceLocation, TraceState
from mlflow.tracing.client import TracingClient

client, tracing = mlflow.MlflowClient(), TracingClient()


def trace(number):
    return f"tr-{number:032x}"


def span(number, span_id):
    def text(value, size):
        return base64.b64encode(value.to_bytes(size, "big")).decode()

    return Span.from_dict({
        "trace_id": text(number, 16), "span_id": text(span_id, 8), "parent_span_id": None,
        "name": "step", "start_time_unix_nano": 1, "end_time_unix_nano": 2, "events": [],
        "status": {"code": "STATUS_CODE_OK", "message": ""},
        "attributes": {"mlflow.traceRequestId": json.dumps(trace(number))},
    })


def log_spans(number, *span_ids):
    tracing.log_spans("0", [span(number, span_id) for span_id in span_ids])


def start_trace(number, run_id):
    # As clients that do not count the spans.
    metadata = {"mlflow.sourceRun": run_id, "mlflow.trace_schema.version": "3"}
    place = TraceLocation.from_experiment_id("0")
    tracing.start_trace(TraceInfo(
        trace_id=trace(number), trace_location=place, request_time=1, state=TraceState.OK,
        trace_metadata=metadata,
    ))
"""

WORKER = f"""{CALLS}
from yprov_mlflow.prov.capture import document_thread
document_thread.QUIET_S = 0.3

for line in sys.stdin:
    try:
        answer = eval(line)
        print(answer if isinstance(answer, str) else "done", flush=True)
    except Exception as error:
        print("failed:", repr(error), flush=True)
"""

NEW_RUN = "client.create_run('0').info.run_id"

Worker = Callable[[str], str]
"""Evaluates an expression in the process of a worker, and returns its value if that is text."""


@contextlib.contextmanager
def worker(sandbox: Sandbox, *, server: bool = True) -> Iterator[Worker]:
    """Start a process that captures as a worker of ``mlflow server`` does, or as a client."""
    uri = f"yprov+{sandbox.sqlite}"
    variables = {"MLFLOW_TRACKING_URI": uri, "YPROV_MLFLOW_COLLECTORS": "none"}
    if server:
        variables["_MLFLOW_SERVER_FILE_STORE"] = uri
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER],
        cwd=sandbox.folder,
        env={**sandbox.environment, **variables},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def call(expression: str) -> str:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(f"{expression}\n")
        process.stdin.flush()
        answer = process.stdout.readline().strip()
        assert answer and not answer.startswith("failed:"), answer
        return answer

    try:
        yield call
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module", name="workers")
def _workers(shared_sandbox: Sandbox) -> Iterator[tuple[Worker, Worker]]:
    with worker(shared_sandbox) as first, worker(shared_sandbox) as second:
        yield first, second


def contents(document: RunDocument) -> set[str]:
    """Return what the calls of these tests logged, as far as a document has it."""
    points = {f"{key}={point.value:g}" for key in document.points for point in document.points[key]}
    params = {f"{key}={value}" for key, value in document.params.items()}
    matches = (re.search(r"trace/tr-(\w+)/span/(\w+)$", i) for i in document.of_type("mlf:Span"))
    spans = {f"{int(match[1], 16)}/{int(match[2], 16)}" for match in matches if match}
    return points | params | spans | set(document.artifacts) | set(document.datasets)


def assert_document_gets(fetch: Callable[[], RunDocument], *expected: str) -> None:
    """Wait for the document that follows late events, which has nothing from the store alone."""
    end = time.monotonic() + 8
    while True:
        document = fetch()
        is_partial = "read from the store" in str(document.data)
        if (contents(document) == set(expected) and not is_partial) or time.monotonic() > end:
            break
        time.sleep(0.1)
    assert contents(document) == set(expected)
    assert not is_partial


def log_after_the_end(sandbox: Sandbox, first: Worker, second: Worker) -> None:
    run_id = first(NEW_RUN)
    document = functools.partial(sandbox.document, run_id)
    first(f"client.log_param('{run_id}', 'a', 1)")
    second(f"client.log_param('{run_id}', 'b', 1)")
    first(f"client.set_terminated('{run_id}')")
    second(f"client.log_param('{run_id}', 'c', 1)")
    assert_document_gets(document, "a=1", "b=1", "c=1")
    time.sleep(1.5)  # now the process that ended the run no longer looks for more
    second(f"client.log_metric('{run_id}', 'm', 2)")
    second(f"client.log_text('{run_id}', 'x', 'x.txt')")
    assert_document_gets(document, "a=1", "b=1", "c=1", "m=2", "x.txt")


@pytest.mark.long
def test_what_another_worker_logs_after_the_end_is_in_the_document(
    shared_sandbox: Sandbox, workers: tuple[Worker, Worker]
) -> None:
    log_after_the_end(shared_sandbox, *workers)


@pytest.mark.long
def test_what_another_client_logs_after_the_end_is_in_the_document(sandbox: Sandbox) -> None:
    with worker(sandbox, server=False) as first, worker(sandbox, server=False) as second:
        log_after_the_end(sandbox, first, second)


def test_spans_of_one_trace_through_two_workers_are_in_its_run(
    shared_sandbox: Sandbox, workers: tuple[Worker, Worker]
) -> None:
    first, second = workers
    run_id = first(NEW_RUN)
    document = functools.partial(shared_sandbox.document, run_id)
    second("log_spans(1, 1, 2)")
    first(f"start_trace(1, '{run_id}')")
    first(f"client.set_terminated('{run_id}')")
    first("log_spans(1, 2, 3)")
    second("log_spans(1, 4)")
    second("log_spans(2, 5)")
    assert_document_gets(document, "1/1", "1/2", "1/3", "1/4")
    shared_sandbox.yprov("recover", uri=shared_sandbox.sqlite)
    [path] = (shared_sandbox.journal / "server").glob("stores/*/prov.json")
    assert contents(RunDocument.load(path)) == {"2/5"}


def test_no_worker_replaces_the_document_of_a_client(
    shared_sandbox: Sandbox, workers: tuple[Worker, Worker], tmp_path: Path
) -> None:
    first, second = workers
    run_id = first(NEW_RUN)
    (tmp_path / "prov.json").write_text("{}")
    first(f"client.set_terminated('{run_id}')")
    second(f"client.log_artifact('{run_id}', '{tmp_path / 'prov.json'}', 'provenance')")
    first(f"client.log_param('{run_id}', 'late', 1)")
    time.sleep(1.5)
    folder = MlflowClient(shared_sandbox.sqlite).download_artifacts(run_id, "provenance")
    assert (Path(folder) / "prov.json").read_text() == "{}"


MANY_THREADS = f"""{CALLS}
import requests.adapters

send = requests.adapters.HTTPAdapter.send


def through_any_worker(self, request, **options):
    request.headers["Connection"] = "close"
    return send(self, request, **options)


requests.adapters.HTTPAdapter.send = through_any_worker
runs = [client.create_run("0").info.run_id for _ in range(3)]
calls = []
for number, run in enumerate(runs, 1):
    for part in range(2):
        trace_number = 100 * number + part
        calls += [
            lambda n=trace_number: log_spans(n, 1),
            lambda n=trace_number, run=run: start_trace(n, run),
            lambda n=trace_number: log_spans(n, 1, 2),
            lambda n=part, run=run: client.log_metric(run, "m", n, n, n),
            lambda n=part, run=run: client.log_param(run, f"p{{n}}", n),
            lambda n=part, run=run: client.log_text(run, "x", f"{{n}}.txt"),
        ]
        if part == 0:
            calls.append(lambda run=run: client.set_terminated(run))


def work():
    while calls:
        calls.pop(0)()


threads = [threading.Thread(target=work) for _ in range(6)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(json.dumps(runs))
"""


def test_documents_of_a_server_with_several_workers_have_everything(
    sandbox: Sandbox, app_server: Server
) -> None:
    runs = sandbox.run(MANY_THREADS, app_server.uri).json
    for number, run_id in enumerate(runs, 1):
        client = MlflowClient(app_server.uri)
        run = client.get_run(run_id)
        points = client.get_metric_history(run_id, "m")
        expected = [
            *(f"m={point.value:g}" for point in points),
            *(f"{key}={value}" for key, value in run.data.params.items()),
            *(f"{part}.txt" for part in range(2)),
            *(f"{100 * number + part}/{span}" for part in range(2) for span in (1, 2)),
        ]
        assert_document_gets(
            functools.partial(RunDocument.fetch, run_id, client.tracking_uri), *expected
        )
