"""The sink ``note``: a link to the report in the descriptions of a run and its model versions.

MLflow's pages show descriptions first. A description that a user wrote stays as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlflow import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

from yprov_mlflow.prov.capture import mlflow_private, session
from yprov_mlflow.prov.capture.run_artifacts import artifacts_of
from yprov_mlflow.prov.layout import PROVENANCE, REPORT

if TYPE_CHECKING:
    from yprov_mlflow.prov.capture.sinks import Delivery


def send(delivery: Delivery) -> None:
    """Describe a run, and the model versions made from it, by a link to the run's report.

    Raises:
        MlflowException: The store or the registry cannot be read, or rejects the description.
    """
    capture = session.get()
    with capture.uncaptured():
        artifacts = artifacts_of(capture, delivery.run_id, delivery.tracking_uri)
        info = artifacts.run.info
        note = note_of(info.experiment_id, info.run_id)
        client = MlflowClient(tracking_uri=mlflow_private.store_uri(artifacts.store))
        # Read again: the user may have written one since the run began.
        if not client.get_run(info.run_id).data.tags.get(MLFLOW_RUN_NOTE):
            client.set_tag(info.run_id, MLFLOW_RUN_NOTE, note)
        for version in client.search_model_versions(f"run_id = '{info.run_id}'"):
            if not version.description:
                client.update_model_version(version.name, version.version, note)


def note_of(experiment_id: str, run_id: str) -> str:
    """Return the description, in Markdown; its address is one of MLflow's own pages."""
    page = f"#/experiments/{experiment_id}/runs/{run_id}/artifacts/{PROVENANCE}"
    return f"[Provenance report]({page}/{REPORT}) of this run, from its W3C PROV document."
