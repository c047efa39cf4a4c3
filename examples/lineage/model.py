"""A linear model of the power of a solar panel, trained by gradient descent."""

import mlflow
import numpy
import pandas


class Panel(mlflow.pyfunc.PythonModel):
    """Predicts the power from irradiance and temperature."""

    def __init__(self, weights):
        self.weights = weights

    def predict(self, model_input: pandas.DataFrame):
        return design(model_input) @ self.weights


def design(frame):
    """Return the matrix of inputs, with a column for the offset."""
    columns = frame[["irradiance", "temperature"]].to_numpy()
    return numpy.column_stack([columns, numpy.ones(len(columns))])


def fit(frame, weights, rate, epochs):
    """Train the weights, log the loss of each epoch, and return both."""
    inputs, power = design(frame), frame["power"].to_numpy()
    for epoch in range(epochs):
        errors = inputs @ weights - power
        weights = weights - rate * 2 * inputs.T @ errors / len(errors)
        loss = float(numpy.mean((inputs @ weights - power) ** 2))
        mlflow.log_metric("loss", loss, step=epoch)
    return weights, loss


def log(weights):
    """Log the model as a new version of the registered model `panel`."""
    mlflow.pyfunc.log_model(
        name="model",
        python_model=Panel(weights),
        pip_requirements=["numpy"],
        code_paths=["model.py"],
        registered_model_name="panel",
    )


def prepared_data():
    """Return the artifact of the last run that prepared data."""
    runs = mlflow.search_runs(
        filter_string="run_name = 'prepare'", order_by=["start_time DESC"], max_results=1
    )
    return mlflow.artifacts.download_artifacts(f"runs:/{runs.run_id[0]}/data/clean.csv")
