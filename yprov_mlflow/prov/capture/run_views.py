"""``mlflow.prov.document``, ``energy`` and ``summary``: the document of a run and views of it."""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, Union

from yprov_mlflow.prov.errors import DocumentError, UsageError
from yprov_mlflow.prov.formats import open_documents, prov_json
from yprov_mlflow.prov.formats.file_formats import SUFFIXES
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.model.relations import KINDS
from yprov_mlflow.prov.views.view import mermaid_block

if TYPE_CHECKING:
    from prov.model import ProvDocument

    from yprov_mlflow.prov.share.card_model import Card
    from yprov_mlflow.prov.views.energy_report import EnergyReport
    from yprov_mlflow.prov.views.summary_report import Summary

Source: TypeAlias = Union[str, "os.PathLike[str]", Document, "ProvDocument", None]
"""A run id, the path of a file in any format, a document, or None for the current run."""


def document(run_id: str | None = None) -> ProvDocument:
    """Return the current provenance of a run.

    Args:
        run_id: MLflow's run id; by default the active run, else the last one.

    Returns:
        A document of the ``prov`` library; a notebook shows it as a picture.

    Raises:
        UsageError: No run was passed, and this process has not started one.
        RunNotFoundError: The tracking store does not have the run.
        DeliveryError: Nothing was captured of the run, here or elsewhere.
        MissingExtraError: The store needs the whole of MLflow, not mlflow-skinny.
    """
    content = _fetch(run_id or None)
    result = prov_json.to_prov(content)
    # Notebooks look for it at the object; a subclass would not be what ``prov`` itself returns.
    result._repr_html_ = functools.partial(picture_html, content)
    result._repr_markdown_ = functools.partial(picture_markdown, content)
    return result


def picture_html(content: Document) -> str:
    """Return the picture of a document as HTML for notebooks."""
    from yprov_mlflow.prov.report import pages, prov_picture  # runs are logged without these

    return pages.picture_html(prov_picture.picture(content))


def picture_markdown(content: Document) -> str:
    """Return the picture of a document as Markdown, into which notebooks are exported."""
    from yprov_mlflow.prov.report import picture_formats, prov_picture  # as above

    return mermaid_block(picture_formats.to_mermaid(prov_picture.picture(content)))


def energy(run: Source = None) -> EnergyReport:
    """Return the energy report of a run: by device and context, emissions, what is missing.

    A notebook shows it as tables; ``to_dict()`` has what ``yprov-mlflow energy --json`` prints.

    Args:
        run: MLflow's run id, the path of a file in any format, or a document; by default the
            active run, else the last one.

    Raises:
        UsageError: No run was passed, and this process has not started one.
        RunNotFoundError: The tracking store does not contain the run.
        DeliveryError: The run lacks a document.
        DocumentError: The file is not a document of PROV.
    """
    from yprov_mlflow.prov.views import energy as view  # each command needs one view only

    return view.from_document(load_document(run))


def summary(run: Source = None) -> Summary:
    """Return the summary of a run: params, tags, metrics, artifacts, datasets, models and so on.

    A notebook shows it as tables; ``to_dict()`` has what ``yprov-mlflow show --json`` prints.

    Args:
        run: As in ``energy``, which raises the same errors.
    """
    from yprov_mlflow.prov.views import summary as view

    return view.from_document(load_document(run))


def card(run: Source = None) -> Card:
    """Return the workflow-provenance card of a run; ``to_markdown()`` and ``to_dict()`` write it.

    Args:
        run: As in ``energy``, which raises the same errors.
    """
    from yprov_mlflow.prov.share import run_card

    return run_card.from_documents([load_document(run)])


def load_document(run: Source, tracking_uri: str | None = None) -> Document:
    """Return a document: the one passed, that of a run, or that of a file.

    Raises:
        UsageError: The file holds several documents.
    """
    documents = load_documents(run, tracking_uri)
    if len(documents) != 1:
        what = f"expected one document, but there are {len(documents)}"
        raise UsageError(what, str(run), "Write each to its own file")
    return documents[0]


def load_documents(run: Source, tracking_uri: str | None = None) -> list[Document]:
    """Return the documents of a file, or the one of anything else."""
    if isinstance(run, Document):
        return [run]
    if run is not None and not isinstance(run, (str, os.PathLike)):
        return list(prov_json.from_prov(run))
    source = run if run is None else os.fspath(run)
    if source is None or not is_path(source):
        return [_fetch(source, tracking_uri)]
    try:
        documents = list(open_documents(Path(source)))
    except OSError as error:
        raise DocumentError.unopened(source, error) from error
    # Any JSON of objects could be PROV-JSON.
    if not any(d.prefixes or not d.records.keys().isdisjoint(KINDS) for d in documents):
        raise DocumentError.without_prov(source)
    return documents


def download_artifacts(run_id: str, folder: Path, tracking_uri: str | None = None) -> None:
    """Download the artifacts of a run into a folder that does not exist yet."""
    from mlflow.artifacts import download_artifacts as download  # it loads MLflow

    folder.mkdir(parents=True, exist_ok=True)
    download(run_id=run_id, artifact_path="", dst_path=str(folder), tracking_uri=tracking_uri)


def download_artifact(
    run_id: str, path: str, folder: Path, tracking_uri: str | None = None
) -> Path:
    """Download one artifact of a run into an existing folder, and return where it is."""
    from mlflow.artifacts import download_artifacts as download  # it loads MLflow

    arguments = {"run_id": run_id, "artifact_path": path, "dst_path": str(folder)}
    return Path(download(**arguments, tracking_uri=tracking_uri))


def is_path(text: str) -> bool:
    """Return whether a text is the path of a file and not a run id.

    It is if it has a folder or the extension of a format, or if there is such a file.
    """
    path = Path(text)
    return path.is_file() or path.suffix in SUFFIXES or len(path.parts) > 1


def _fetch(run_id: str | None, tracking_uri: str | None = None) -> Document:
    """Return the document of a run, by default of the current one."""
    from yprov_mlflow.prov.capture import session  # it loads MLflow, files do not

    run_id = session.get().current_run() if run_id is None else run_id
    with tempfile.TemporaryDirectory(prefix="yprov-") as out:
        return prov_json.loads(write_document(run_id, Path(out), tracking_uri).read_bytes())


def write_document(
    run_id: str, out: Path, tracking_uri: str | None = None, *, with_points: bool = False
) -> Path:
    """Write the document of a run into a folder; see ``recovery.fetch_document``."""
    from yprov_mlflow.prov.capture import recovery  # it loads MLflow

    return recovery.fetch_document(run_id, out, tracking_uri, with_points=with_points)


def run_tags(run_id: str, tracking_uri: str | None = None) -> dict[str, str]:
    """Return the tags of a run, from its store."""
    from mlflow import MlflowClient  # documents in files need no MLflow

    return dict(MlflowClient(tracking_uri).get_run(run_id).data.tags)


def set_run_tags(run_id: str, tags: Mapping[str, str], tracking_uri: str | None = None) -> None:
    """Set tags of a run, in its store."""
    from mlflow import MlflowClient  # documents in files need no MLflow

    client = MlflowClient(tracking_uri)
    for key, value in tags.items():
        client.set_tag(run_id, key, value)
