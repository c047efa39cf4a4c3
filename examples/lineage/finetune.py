"""Continue the training of the champion with a smaller rate, and register the result."""

import mlflow
import pandas
from model import fit, log, prepared_data

with mlflow.start_run(run_name="finetune"):
    champion = mlflow.pyfunc.load_model("models:/panel@champion")
    data = pandas.read_csv(prepared_data())
    mlflow.log_params({"rate": 0.05, "epochs": 20})
    weights, loss = fit(data, champion.unwrap_python_model().weights, 0.05, 20)
    log(weights)
print(f"loss {loss:.1f} after fine-tuning")
