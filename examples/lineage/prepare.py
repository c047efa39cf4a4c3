"""Clean the measurements of a solar panel and log the result as an artifact."""

import mlflow
import pandas

raw = pandas.read_csv("panel.csv")
with mlflow.start_run(run_name="prepare"):
    mlflow.log_input(mlflow.data.from_pandas(raw, source="panel.csv", name="panel"), "raw")
    clean = raw.dropna()
    clean = clean[clean["irradiance"] > 0]
    clean = clean.assign(
        irradiance=clean["irradiance"] / 1000, temperature=clean["temperature"] / 25
    )
    clean.to_csv("clean.csv", index=False)
    mlflow.log_metric("rows", len(clean))
    mlflow.log_artifact("clean.csv", "data")
