"""``mlflow server --app-name yprov``: MLflow's own application, with capture on.

The backend store's URI stays plain, so that MLflow's server jobs work, too.
"""

from __future__ import annotations

import importlib
import importlib.util

from yprov_mlflow.prov.capture import mlflow_private, patches, server_pages
from yprov_mlflow.prov.restore.sync_route import blueprint

patches.activate()

# Before FastAPI, which MLflow 3 puts in front of Flask, is made.
_flask, _prefix = mlflow_private.server_application()
for _blueprint in (blueprint, server_pages.blueprint):
    _flask.register_blueprint(_blueprint, url_prefix=_prefix or None)

# Made after the patches are in place. MLflow 2 serves with Flask alone.
_MODULES = ("mlflow.server.fastapi_app", "mlflow.server")
app = importlib.import_module(next(filter(importlib.util.find_spec, _MODULES))).app

__all__ = ["app"]
