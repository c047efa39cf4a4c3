"""``mlflow server --app-name yprov``: MLflow's own application, with capture on.

The backend store's URI stays plain, so that MLflow's server jobs work, too.
"""

from __future__ import annotations

from yprov_mlflow.prov.capture import patches

patches.activate()

from mlflow.server.fastapi_app import app  # noqa: E402 - made after the patches are in place

__all__ = ["app"]
