"""MLflow with W3C PROV for every run: ``import yprov_mlflow as mlflow``.

Importing this package activates nothing, because MLflow itself imports it at every start to load
its plugin. The first use of a name of MLflow through it activates capture. All that is ours is
below ``prov``, a name that MLflow does not use.
"""

import sys

from yprov_mlflow.prov.capture.dropin import DropIn, install

sys.modules[__name__].__class__ = DropIn
install()
