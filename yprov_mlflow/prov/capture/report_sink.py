"""The sink ``report``: a page about each finished run among its artifacts, beside its document.

A sink is called after the run, in a thread of its own, so that the page neither delays a run nor
breaks it; ``recover`` writes what is missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlflow.exceptions import MlflowException

from yprov_mlflow.prov.capture import session
from yprov_mlflow.prov.capture.run_artifacts import RunArtifacts, artifacts_of
from yprov_mlflow.prov.formats import prov_json
from yprov_mlflow.prov.formats.metric_files import read_points
from yprov_mlflow.prov.layout import KEPT_PATCH, PROVENANCE, REPORT, temporary_folder
from yprov_mlflow.prov.report import run_report
from yprov_mlflow.prov.views.document_reader import DocumentReader, value

if TYPE_CHECKING:
    from yprov_mlflow.prov.capture.sinks import Delivery


def send(delivery: Delivery) -> None:
    """Write the report of a run to its artifacts, as ``provenance/report.html``.

    Raises:
        DocumentError: The document or its metric file cannot be read.
        OSError: The report cannot be written.
    """
    capture = session.get()
    reader = DocumentReader(prov_json.loads(delivery.document.read_bytes()))
    points = (file for file in delivery.files if file != delivery.document)
    with capture.uncaptured(), temporary_folder() as out:
        artifacts = artifacts_of(capture, delivery.run_id, delivery.tracking_uri)
        page = run_report.of_document(
            reader,
            (batch for file in points for batch in read_points(file)),
            patch=_patch(reader, artifacts, str(out)),
        )
        file = out / REPORT
        file.write_text(page.to_html(), "utf-8")
        artifacts.put([file])


def _patch(reader: DocumentReader, artifacts: RunArtifacts, out: str) -> str:
    """Return the changes of the code against its commit, if they were kept."""
    for _, code in reader.of_type("entity", "schema:SoftwareSourceCode"):
        folders = value(code.get("mlf:keptIn", []))
        for folder in [folders] if isinstance(folders, str) else folders:
            path = f"{str(folder).strip('/').removeprefix(f'{PROVENANCE}/')}/{KEPT_PATCH}"
            try:
                return artifacts.fetch(path, out).read_text("utf-8", "replace")
            except (MlflowException, OSError):  # the code has no changes
                continue
            except RuntimeError:  # MLflow cannot start a thread while the process exits
                return ""
    return ""
