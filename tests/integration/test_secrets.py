"""No secret of a run reaches a journal or a document, live or converted, from any store."""

from __future__ import annotations

import json
from pathlib import Path

import mlflow
import pytest
from support.readers.documents import RunDocument

from integration.conftest import Sandbox
from yprov_mlflow.prov.journal import JournalDirectory
from yprov_mlflow.prov.redaction import WITHHELD

SECRET = "Zq7hush"
TRAIN = """
import numpy as np
import yprov_mlflow as mlflow
from mlflow.data.http_dataset_source import HTTPDatasetSource

secret = "Zq7" + "hush"
with mlflow.start_run(run_name="see https://u:" + secret + "@h", log_system_metrics=False) as run:
    mlflow.log_params({
        "data": "https://h/d.csv?X-Amz-Credential=" + secret +
            "&X-Amz-Signature=" + secret + "&v=2",
        "hub_token": secret, "pad_token": "<pad>", "max_tokens": 5,
        "commit": "3f786850e387550f" * 2,
    })
    mlflow.set_tags({"origin": '{"url": "https://u:' + secret + '@h/x"}', "wandb_api_key": secret})
    mlflow.log_metric("token_accuracy", 0.5)
    source = HTTPDatasetSource("https://h/d?sv=2&sig=" + secret)
    mlflow.log_input(mlflow.data.from_numpy(np.arange(3), source=source, name="d"))
    with mlflow.start_span("ask") as span:
        span.set_inputs({"password": "in prose", "url": "https://u:" + secret + "@h"})
client = mlflow.MlflowClient()
client.create_registered_model("m", {"api_key": secret})
client.create_model_version("m", "https://u:" + secret + "@h/x?X-Goog-Signature=" + secret)
import json
print(json.dumps(run.info.run_id))
"""
ARGUMENTS = (f"--password={SECRET}", "--api-key", SECRET, f"https://u:{SECRET}@h/", "--lr", "0.1")


def texts(*folders: Path) -> dict[Path, str]:
    paths = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {path: path.read_text(errors="replace") for path in paths}


@pytest.mark.parametrize("backend", ["sqlite", "files"])
def test_no_secret_is_written_live_or_converted(sandbox: Sandbox, backend: str) -> None:
    uri = getattr(sandbox, backend)
    run_id = sandbox.train(TRAIN, uri, *ARGUMENTS, YPROV_MLFLOW_COLLECTORS="git,environment").json
    live = sandbox.document(run_id, uri)
    outcomes = sandbox.yprov("recover", "--again", "--json", uri=uri).out
    (outcome,) = [item for item in json.loads(outcomes) if item["run_id"] == run_id]
    again = sandbox.document(run_id, uri)
    out, report = sandbox.folder / "converted", sandbox.folder / "report.json"
    sandbox.yprov("convert", uri, "-o", str(out), "--report", str(report), check=False)
    written = texts(sandbox.journal, out)
    assert len(written) > 3
    written |= {report: report.read_text(), Path("live"): json.dumps(live.data)}
    assert [str(path) for path, text in written.items() if SECRET in text] == []
    (path,) = out.rglob(f"*{run_id}*/prov.json")
    for document in (live, again, RunDocument.load(path)):
        assert document.params == {
            "data": f"https://h/d.csv?X-Amz-Credential={WITHHELD}&X-Amz-Signature={WITHHELD}&v=2",
            "hub_token": WITHHELD,
            "pad_token": "<pad>",
            "max_tokens": "5",
            "commit": "3f786850e387550f" * 2,
        }
        assert document.tags["origin"] == '{"url": "https://h/x"}'
        assert document.tags["wandb_api_key"] == WITHHELD
        assert document.name == "see https://h"
        assert "in prose" in json.dumps(document.data)
    # The values of the store are not taken for values that the journal lacks.
    journals, _ = JournalDirectory(sandbox.journal, run_id).readers()
    assert outcome["events"] == sum(len(list(journal)) for journal in journals)
    target = f"sqlite:///{sandbox.folder / 'restored.db'}"
    report.unlink()
    sandbox.yprov("restore", str(out), "--to", target, "--report", str(report), check=False)
    changes = json.loads(report.read_text())["changes"]
    assert any("secrets were withheld from it" in change["reason"] for change in changes)
    restored = mlflow.MlflowClient(target).get_run(run_id)
    assert restored.data.params["hub_token"] == WITHHELD
    assert restored.data.params["commit"] == "3f786850e387550f" * 2
