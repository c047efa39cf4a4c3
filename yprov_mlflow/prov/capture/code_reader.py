"""Read the kept code of runs: from the state folder, or else from the artifacts of its run."""

from __future__ import annotations

import hashlib
import re
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from yprov_mlflow.prov import settings
from yprov_mlflow.prov.capture.run_views import download_artifact
from yprov_mlflow.prov.layout import KEPT, KEPT_CODE, PROVENANCE

if TYPE_CHECKING:
    from yprov_mlflow.prov.graph.code_changes import KeptFile

_SHA256 = re.compile("[0-9a-f]{64}")
_PLACE = re.compile(rf"{PROVENANCE}/{KEPT_CODE}/[0-9a-f]{{16}}/.+")


def read(file: KeptFile) -> bytes | None:
    """Return the content of a kept file; None if it is not within reach.

    A graph may have documents of anyone: only the recorded content of code is accepted.
    """
    if not _SHA256.fullmatch(file.sha256):
        return None
    local = settings.load().directory / KEPT / file.sha256
    content = _content(local, file.sha256)
    places = (p for p in file.places if _PLACE.fullmatch(p) and ".." not in p.split("/"))
    for place in places if content is None else ():
        with tempfile.TemporaryDirectory(prefix="yprov-") as folder:
            try:
                local = download_artifact(file.run_id, place, Path(folder))
            except Exception:  # noqa: BLE001 - each kind of store has its own errors
                continue
            content = content or _content(local, file.sha256)
    return content


def _content(file: Path, sha256: str) -> bytes | None:
    with suppress(OSError):
        content = file.read_bytes()
        return content if hashlib.sha256(content).hexdigest() == sha256 else None
    return None
