"""``mlflow.prov.document``, ``energy`` and ``summary``: the document of a run and views of it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import orjson

from yprov_mlflow.prov.errors import DocumentError, UsageError
from yprov_mlflow.prov.formats import FORMATS, open_documents, prov_json
from yprov_mlflow.prov.formats.file_formats import SUFFIXES
from yprov_mlflow.prov.model.document import Document

if TYPE_CHECKING:
    from prov.model import ProvDocument

    from yprov_mlflow.prov.views.energy_report import EnergyReport
    from yprov_mlflow.prov.views.summary import Summary

Source: TypeAlias = Union[str, "os.PathLike[str]", Document, "ProvDocument", None]
"""A run id, the path of a file in any format, a document, or None for the current run."""


def document(run_id: str | None = None) -> ProvDocument:
    """Return the current provenance of a run.

    Args:
        run_id: MLflow's run id; by default the active run, else the last one.

    Returns:
        A document of the ``prov`` library.

    Raises:
        UsageError: No run was passed, and this process has not started one.
        RunNotFoundError: The tracking store does not have the run.
        DeliveryError: Nothing was captured of the run, here or elsewhere.
        MissingExtraError: The store needs the whole of MLflow, not mlflow-skinny.
    """
    return prov_json.to_prov(prov_json.loads(_fetch(run_id or None)[1]))


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


def load_document(run: Source, tracking_uri: str | None = None) -> Document | dict[str, Any]:
    """Return a document, that of a run, or a file's PROV-JSON object.

    A text is a path if it has a folder or the suffix of a format, or if there is such a file.
    """
    if isinstance(run, Document):
        return run
    if run is None or isinstance(run, (str, os.PathLike)):
        return _load(run, tracking_uri)
    return _single(prov_json.from_prov(run))


def _single(documents: Iterable[Document]) -> Document:
    found = list(documents)
    if len(found) != 1:
        raise UsageError(f"expected one document, but there are {len(found)}")
    return found[0]


def _load(
    run: str | os.PathLike[str] | None, tracking_uri: str | None
) -> Document | dict[str, Any]:
    source = run if run is None else os.fspath(run)
    path = Path(source or "")
    if path.is_file() or path.suffix in SUFFIXES or len(path.parts) > 1:
        try:
            if SUFFIXES.get(path.suffix, FORMATS["prov-json"]).name != "prov-json":
                return _single(open_documents(path))
            return _parse(path.read_bytes(), str(source))
        except OSError as error:
            raise DocumentError.malformed(str(source), error.strerror or str(error)) from error
    source, content = _fetch(source, tracking_uri)
    return _parse(content, source)


def _fetch(run_id: str | None, tracking_uri: str | None = None) -> tuple[str, bytes]:
    """Return the id of a run, by default of the current one, and its PROV-JSON."""
    from yprov_mlflow.prov.capture import recovery, session  # they load MLflow, files do not

    run_id = session.get().current_run() if run_id is None else run_id
    return run_id, recovery.fetch_document(run_id, tracking_uri)


def _parse(content: bytes, source: str) -> dict[str, Any]:
    """Parse PROV-JSON, which is an object of sections, each an object of records."""
    try:
        sections = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise DocumentError.malformed(source, str(error)) from error
    if not isinstance(sections, dict) or "prefix" not in sections:
        raise DocumentError.malformed(source, "it is not an object with a prefix section")
    for section, records in sections.items():
        if not isinstance(records, Mapping) or not all(
            isinstance(record, Mapping) or section == "prefix" for record in records.values()
        ):
            reason = f"its section {section!r} is not an object of records"
            raise DocumentError.malformed(source, reason)
    return sections
