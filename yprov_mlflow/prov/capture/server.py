"""``mlflow server --app-name yprov``: MLflow's own application, with capture on.

The backend store's URI stays plain, so that MLflow's server jobs work, too.
"""

from __future__ import annotations

import importlib
import importlib.util

from yprov_mlflow.prov.capture import patches

patches.activate()

# Made after the patches are in place. MLflow 2 serves with Flask alone.
_MODULES = ("mlflow.server.fastapi_app", "mlflow.server")
app = importlib.import_module(next(filter(importlib.util.find_spec, _MODULES))).app

__all__ = ["app"]
