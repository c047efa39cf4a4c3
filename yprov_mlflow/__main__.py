"""``python -m yprov_mlflow``: the command line, as ``yprov-mlflow``."""

from yprov_mlflow.commands import main

if __name__ == "__main__":
    main()
