"""``yprov-mlflow push``: a run's document at the services, and its identifier in MLflow."""

from __future__ import annotations

import json
from typing import Any

import pytest
from mlflow import MlflowClient
from support.fakes.yprov_services import FakeService, running
from support.readers.documents import RunDocument

from integration.conftest import CommandResult, Sandbox

TRAIN = """
import json
import yprov_mlflow as mlflow

mlflow.set_experiment("pushed")
with mlflow.start_run() as run:
    mlflow.log_param("lr", 0.1)
    for number in mlflow.prov.epochs(2, context="training"):
        mlflow.log_metric("loss", 1.0 / (1 + number), step=number)
print(json.dumps(run.info.run_id))
"""
ABOUT = """
[tool.yprov-mlflow.about]
title = "Digits"
keywords = ["cnn", "mnist"]
authors = [{name = "Ada"}, {name = "Josiah Carberry"}]
"""
PASSWORD = "correct horse"


@pytest.fixture(scope="module")
def run_id(shared_sandbox: Sandbox) -> str:
    (shared_sandbox.folder / "pyproject.toml").write_text(ABOUT)
    return str(shared_sandbox.train(TRAIN, shared_sandbox.sqlite).json)


def push(sandbox: Sandbox, fake: FakeService, *words: str) -> CommandResult:
    base = fake.url + ("/api/v0" if fake.kind == "yprov" else "")
    env = {"YPROV_USER": "user@example.org", "YPROV_PASSWORD": PASSWORD}
    command = ("yprov-mlflow", "push", *words, "--to", base)
    return sandbox.call(*command, uri=sandbox.sqlite, check=False, **env)


def components(document: dict[str, Any]) -> int:
    """Return the number of parts of a graph, whose relations have their first two ends."""
    nodes = {n: n for kind in ("entity", "activity", "agent") for n in document.get(kind, {})}

    def root(node: str) -> str:
        while nodes[node] != node:
            node = nodes[node]
        return node

    for section, records in document.items():
        if section in ("prefix", "entity", "activity", "agent"):
            continue
        for record in records.values():
            ends = [v for k, v in record.items() if k.startswith("prov:") and v in nodes]
            assert len(ends) >= 2, (section, record)
            nodes[root(ends[0])] = root(ends[1])
    return len({root(node) for node in nodes})


def test_run_becomes_a_connected_document_of_the_yprov_service(
    shared_sandbox: Sandbox, run_id: str
) -> None:
    with running("yprov") as fake:
        result = push(shared_sandbox, fake, run_id)
        assert result.code in (0, 3), result.err
        pid = f"{fake.url}/api/v0/documents/run-{run_id}"
        assert result.out.splitlines()[0] == pid
        assert components(fake.documents[f"run-{run_id}"]) == 1
        tags = MlflowClient(shared_sandbox.sqlite).get_run(run_id).data.tags
        assert tags["yprov.pid"] == pid
        assert PASSWORD not in json.dumps(tags) + result.out + result.err
        again = push(shared_sandbox, fake, run_id)
        assert "has this document already" in again.out
        assert sum(method == "PUT" for method, _ in fake.requests) == 1
        refused = push(shared_sandbox, fake, run_id, "--profile", "none")
        assert refused.code == 1 and "--replace" in refused.err


def test_identifier_is_in_converted_documents(
    shared_sandbox: Sandbox, run_id: str, tmp_path: Any
) -> None:
    with running("yprovstore") as fake:
        first = push(shared_sandbox, fake, run_id, "--json")
        assert first.code == 0, first.err
        facts = json.loads(first.out)
        assert facts["version"] == 1
        found_by = {"title": "Digits", "keywords": ["cnn", "mnist"]}
        assert fake.metadata[facts["pid"]] == {**found_by, "author": "Ada, Josiah Carberry"}
        assert fake.documents[facts["pid"]] == shared_sandbox.document(run_id).data
        MlflowClient(shared_sandbox.sqlite).set_tag(run_id, "note", "later")
        shared_sandbox.yprov("convert", shared_sandbox.sqlite, "--out", str(tmp_path / "out"))
        (path,) = (tmp_path / "out").rglob(f"*{run_id}*/prov.json")
        converted = RunDocument.load(path)
        assert converted.run["dcterms:identifier"] == facts["pid"]
        second = push(shared_sandbox, fake, str(path), "--parent", facts["pid"], "--json")
        assert json.loads(second.out)["version"] == 2
        related = push(shared_sandbox, fake, str(path), "--related", facts["pid"], "--json")
        assert fake.related == {json.loads(related.out)["pid"]: [facts["pid"]]}


def test_push_needs_credentials(shared_sandbox: Sandbox, run_id: str) -> None:
    words = ("yprov-mlflow", "push", run_id, "--to", "yprov://localhost:9")
    result = shared_sandbox.call(*words, uri=shared_sandbox.sqlite, check=False)
    assert result.code == 2 and "YPROV_TOKEN" in result.err
