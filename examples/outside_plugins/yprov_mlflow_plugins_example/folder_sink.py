"""Sink: a copy of each document in one folder, such as a shared file system.

The folder is that of the variable ``YPROV_EXAMPLE_FOLDER``. A real sink would send the document to
a service, with a time limit for each request.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from yprov_mlflow.prov.capture.sinks import Delivery


def send(delivery: Delivery) -> None:
    """Copy a document; one of the same run is replaced as a whole."""
    folder = Path(os.environ["YPROV_EXAMPLE_FOLDER"])
    partial = folder / f".{delivery.run_id}.{os.getpid()}"
    shutil.copyfile(delivery.document, partial)
    partial.replace(folder / f"{delivery.run_id}.json")
