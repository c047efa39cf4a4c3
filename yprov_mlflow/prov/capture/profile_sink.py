"""The sink ``yprov4ml``: the profile of a finished run among its artifacts, beside its document.

A sink is called after the run, in a thread of its own, so that the profile neither delays a run
nor breaks it; ``recover`` writes what is missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.uri import is_local_uri

from yprov_mlflow.prov.capture import session
from yprov_mlflow.prov.capture.run_artifacts import artifacts_of
from yprov_mlflow.prov.formats import prov_json
from yprov_mlflow.prov.formats.metric_files import read_points
from yprov_mlflow.prov.layout import PROFILE, PROVENANCE, temporary_folder
from yprov_mlflow.prov.profiles import PROFILES, yprov4ml_folder

if TYPE_CHECKING:
    from yprov_mlflow.prov.capture.sinks import Delivery


def send(delivery: Delivery) -> None:
    """Write the profile of a run to its artifacts, in ``provenance/yprov4ml``.

    Raises:
        DocumentError: The document or its metric file cannot be read.
        OSError: The profile cannot be written.
    """
    document = prov_json.loads(delivery.document.read_bytes())
    run = yprov4ml_folder.run_names(document)
    if run is None:
        return
    capture = session.get()
    with capture.uncaptured(), temporary_folder() as out:
        artifacts = artifacts_of(capture, delivery.run_id, delivery.tracking_uri)
        uri = str(artifacts.run.info.artifact_uri)
        root = local_file_uri_to_path(uri) if is_local_uri(uri) else uri
        folder = out / run.folder
        folder.mkdir()
        points = (file for file in delivery.files if file != delivery.document)
        batches = (batch for file in points for batch in read_points(file))
        address = f"{root.rstrip('/')}/{PROVENANCE}/{PROFILE}/{run.folder}"
        PROFILES[PROFILE].write(document, batches, folder, address, "csv")
        artifacts.put_folder(out, PROFILE)
