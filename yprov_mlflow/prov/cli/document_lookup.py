"""The document that a command is asked about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from yprov_mlflow.prov.cli.console import printable, when_store_fails
from yprov_mlflow.prov.errors import DocumentError


def find(run: str, tracking_uri: str | None) -> dict[str, Any]:
    """Give the PROV-JSON of a run by its id, from journal or artifacts, or of a file.

    Raises:
        DocumentError: What is there is no PROV-JSON.
        StoreError: The run's store cannot be asked.
        DeliveryError: The run has no document.
    """
    path = Path(run)
    if path.is_file() or path.suffix == ".json" or len(path.parts) > 1:
        try:
            content = path.read_bytes()
        except OSError as error:
            reason = error.strerror or str(error)
            raise DocumentError.malformed(printable(run), reason) from error
    else:
        from yprov_mlflow.prov.capture import delivery

        with when_store_fails(tracking_uri, run):
            content = delivery.fetch_document(run, tracking_uri)
    return _read(content, run)


def _read(content: bytes, source: str) -> dict[str, Any]:
    """Read PROV-JSON, which is an object of sections, each an object of records."""
    import orjson

    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise DocumentError.malformed(printable(source), str(error)) from error
    if not isinstance(document, dict) or "prefix" not in document:
        raise DocumentError.malformed(printable(source), "it is no object with a prefix section")
    for section, records in document.items():
        if not isinstance(records, dict) or not all(
            isinstance(record, dict) or section == "prefix" for record in records.values()
        ):
            reason = f"its section {printable(section)!r} is no object of records"
            raise DocumentError.malformed(printable(source), reason)
    return document
