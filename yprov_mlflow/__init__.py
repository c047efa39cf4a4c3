"""MLflow as you know it, with W3C PROV for every run: ``import yprov_mlflow as mlflow``.

Importing this package does nothing yet, since MLflow itself imports it at every start to ask
for its plugin. The first use of a name of MLflow through it activates capture; our own verbs
are under ``prov``, a name that MLflow does not use.
"""

import sys

from yprov_mlflow.prov.capture.dropin import DropIn, install

sys.modules[__name__].__class__ = DropIn
install()
