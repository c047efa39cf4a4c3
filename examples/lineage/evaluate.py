"""Evaluate the champion on the prepared data."""

import mlflow
import pandas
from model import prepared_data

with mlflow.start_run(run_name="evaluate"):
    champion = mlflow.pyfunc.load_model("models:/panel@champion")
    data = pandas.read_csv(prepared_data())
    error = float((champion.predict(data) - data["power"]).abs().mean())
    mlflow.log_metric("mean_absolute_error", error)
print(f"mean absolute error {error:.1f} W")
