"""Train a model with the learning rate in the argument, and register it."""

import sys

import mlflow
import numpy
import pandas
from model import fit, log, prepared_data

rate = float(sys.argv[1])
with mlflow.start_run(run_name=f"train {rate}"):
    path = prepared_data()
    data = pandas.read_csv(path)
    mlflow.log_input(mlflow.data.from_pandas(data, source=path, name="clean"), "training")
    mlflow.log_params({"rate": rate, "epochs": 40})
    weights, loss = fit(data, numpy.zeros(3), rate, 40)
    log(weights)
print(f"loss {loss:.1f} with rate {rate}")
