"""The command line, for ``warm_python``."""

from yprov_mlflow.prov.cli import main

if __name__ == "__main__":  # workers of a conversion import this file
    main(prog_name="yprov-mlflow")
