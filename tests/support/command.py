"""The command line, for ``warm_python``."""

from yprov_mlflow.prov.cli import main

main(prog_name="yprov-mlflow")
