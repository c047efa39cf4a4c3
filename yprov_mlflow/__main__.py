"""``python -m yprov_mlflow``: the command line, as ``yprov-mlflow``."""

from yprov_mlflow.prov.cli import main

if __name__ == "__main__":
    main()
