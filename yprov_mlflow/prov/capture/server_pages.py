"""Pages of ``mlflow server --app-name yprov``: the report, lineage and document of a run.

They show what the artifacts of runs have, to those who may read these artifacts through the same
server, and write nothing.
"""

from __future__ import annotations

import contextlib
import functools
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from flask import Blueprint, Response
from mlflow.exceptions import MlflowException

from yprov_mlflow.prov.capture import mlflow_private
from yprov_mlflow.prov.capture import session as process
from yprov_mlflow.prov.capture.run_artifacts import RunArtifacts
from yprov_mlflow.prov.errors import RunNotFoundError, YprovMlflowError
from yprov_mlflow.prov.formats import prov_json
from yprov_mlflow.prov.formats.metric_files import read_points
from yprov_mlflow.prov.graph.stores import LocalGraph
from yprov_mlflow.prov.layout import PROV_JSON
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.redaction import redact
from yprov_mlflow.prov.report import model_report, pages, run_report
from yprov_mlflow.prov.translate import side_files
from yprov_mlflow.prov.views.view import visible

PAGES = "/yprov/runs"

_MOST_RUNS = 50
"""So many documents are read for a lineage: each is an artifact to download."""

_OTHER_RUN = "run-"

blueprint = Blueprint("yprov_pages", __name__)

_View = Callable[[str], Response]


def _page(view: Callable[[str], str | bytes]) -> _View:
    """Answer with a page, JSON or an error, and suspend capture meanwhile.

    A document may have been written by anyone who may log a run, so pages have the same content
    policy as the files of reports.
    """

    @functools.wraps(view)
    def shown(run_id: str) -> Response:
        """Return the view's page about a run, or the error as a page."""
        content: str | bytes
        status = 200
        with process.get().uncaptured():
            try:
                content = view(run_id)
            except (YprovMlflowError, OSError) as error:
                message = visible(redact(str(error)), 2000)
                content = pages.render("problem.html", title="Not found", message=message, links=())
                status = 404
        mimetype = "application/json" if isinstance(content, bytes) else "text/html"
        response = Response(content, status, mimetype=mimetype)
        response.headers["Content-Security-Policy"] = pages.policy()
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "same-origin"
        return response

    return shown


@blueprint.get(f"{PAGES}/<run_id>/")
@_page
def report(run_id: str) -> str:
    """Return the report of a run."""
    with tempfile.TemporaryDirectory(prefix="yprov-") as folder:
        artifacts = _artifacts(run_id)
        document = _document(artifacts, folder)
        files = _point_files(artifacts, document, folder)
        points = (batch for file in files for batch in read_points(file))
        page = run_report.of_document(document, points)
    experiment = artifacts.run.info.experiment_id
    in_mlflow = f"../../../#/experiments/{experiment}/runs/{artifacts.run.info.run_id}"
    return page.to_html([("MLflow", in_mlflow), ("Lineage", "lineage"), ("Document", PROV_JSON)])


@blueprint.get(f"{PAGES}/<run_id>/lineage")
@_page
def lineage(run_id: str) -> str:
    """Return the lineage of a run, from its document and those of the runs that it names."""
    with tempfile.TemporaryDirectory(prefix="yprov-") as folder:
        documents: dict[str, Document | None] = {run_id: _document(_artifacts(run_id), folder)}
    while unread := _unread(documents):
        documents |= {name: _document_or_none(name) for name in unread}
    graph = LocalGraph.in_memory(filter(None, documents.values()))
    page = model_report.of_model(graph, f"run:{run_id}")
    return page.to_html([("Report", "./"), ("Document", PROV_JSON)])


@blueprint.get(f"{PAGES}/<run_id>/{PROV_JSON}")
@_page
def document(run_id: str) -> bytes:
    """Return the document of a run."""
    with tempfile.TemporaryDirectory(prefix="yprov-") as folder:
        return _fetched(_artifacts(run_id), PROV_JSON, folder).read_bytes()


def _unread(documents: Mapping[str, Document | None]) -> list[str]:
    """Return runs that documents name and that have not been read, as many as may be."""
    # The records of another run have a prefix of their own in a document.
    names = (name for document in documents.values() if document for name in document.prefixes)
    runs = (name.removeprefix(_OTHER_RUN) for name in names if name.startswith(_OTHER_RUN))
    unread = [run for run in dict.fromkeys(runs) if run not in documents]
    return unread[: max(0, _MOST_RUNS - len(documents))]


def _point_files(artifacts: RunArtifacts, document: Document, folder: str) -> Iterator[Path]:
    for name, _ in side_files(document):
        # Without its points, a curve is left out.
        with contextlib.suppress(MlflowException, OSError):
            yield artifacts.fetch(Path(name).name, folder)


def _document_or_none(run_id: str) -> Document | None:
    with tempfile.TemporaryDirectory(prefix="yprov-") as folder:
        try:
            return _document(_artifacts(run_id), folder)
        except YprovMlflowError:  # a run of another store, or one without a document
            return None


def _document(artifacts: RunArtifacts, folder: str) -> Document:
    return prov_json.loads(_fetched(artifacts, PROV_JSON, folder).read_bytes())


def _artifacts(run_id: str) -> RunArtifacts:
    store: Any = mlflow_private.server_tracking_store()
    try:
        return RunArtifacts(store, store.get_run(run_id))
    except MlflowException as error:
        what = f"this server has no run {run_id!r}"
        raise RunNotFoundError(what, None, "Check the id in MLflow's list of runs") from error


def _fetched(artifacts: RunArtifacts, name: str, folder: str) -> Path:
    try:
        return artifacts.fetch(name, folder)
    except (MlflowException, OSError) as error:
        cure = (
            "It is written when a captured run ends; for other runs write it with: "
            "yprov-mlflow convert"
        )
        what = f"the run {artifacts.run.info.run_id} has no provenance document"
        raise RunNotFoundError(what, None, cure) from error
