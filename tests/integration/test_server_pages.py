"""In MLflow: descriptions that link to the report, and pages of runs on ``--app-name yprov``."""

import flask
import pytest
from mlflow import MlflowClient
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from integration.conftest import Sandbox
from yprov_mlflow.prov.capture import mlflow_private, server_pages

TRAIN = """
import yprov_mlflow as mlflow

client = mlflow.MlflowClient()
client.create_registered_model("net")
for words in (None, "my own words"):
    with mlflow.start_run(run_name="<b>fox</b>", description=words) as run:
        uri = f"{run.info.artifact_uri}/model"
        client.create_model_version("net", uri, run.info.run_id, description=words)
        if words:
            mlflow.artifacts.download_artifacts(run_id=first, artifact_path="data.txt")
        mlflow.log_text("1 2 3", "data.txt")
        for step in range(150):
            mlflow.log_metric("loss", 1 / (1 + step), step=step)
    first = run.info.run_id
"""


@pytest.fixture
def trained(sandbox: Sandbox) -> Sandbox:
    sandbox.train(TRAIN, sandbox.sqlite, YPROV_MLFLOW_SINKS="report,note")
    return sandbox


def test_pages_and_notes(trained: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    client = MlflowClient(trained.sqlite)
    second, first = client.search_runs(["0"])
    linked = f"runs/{first.info.run_id}/artifacts/provenance/report.html)"
    assert linked in first.data.tags["mlflow.note.content"]
    assert linked in client.get_model_version("net", "1").description
    assert second.data.tags["mlflow.note.content"] == "my own words"
    assert client.get_model_version("net", "2").description == "my own words"

    store = SqlAlchemyStore(trained.sqlite, str(trained.folder))
    monkeypatch.setattr(mlflow_private, "server_tracking_store", lambda: store)
    app = flask.Flask("pages")
    app.register_blueprint(server_pages.blueprint, url_prefix="/prefix")
    pages = app.test_client()
    address = f"/prefix/yprov/runs/{second.info.run_id}"
    page = pages.get(address, follow_redirects=True)
    assert "&lt;b&gt;fox" in page.text and 'aria-label="loss"' in page.text
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src")
    assert pages.get(f"{address}/prov.json").json["activity"]["run:run"]
    lineage = pages.get(f"{address}/lineage")
    assert "data.txt" in lineage.text and first.info.run_id in lineage.text
    for wrong in ("none", "%3Cscript%3E", first.info.run_id[:8]):
        for part in ("/", "/lineage", "/prov.json"):
            answer = pages.get(f"/prefix/yprov/runs/{wrong}{part}")
            assert answer.status_code == 404 and "<script" not in answer.text
            assert "Check the id" in answer.text
    plain = client.create_run("0").info.run_id
    answer = pages.get(f"/prefix/yprov/runs/{plain}/")
    assert answer.status_code == 404 and "yprov-mlflow convert" in answer.text
