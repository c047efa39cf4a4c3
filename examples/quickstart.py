"""Train a small classifier of handwritten digits and print a summary of its provenance.

It writes to the folder ``quickstart`` in the working directory.
"""

from pathlib import Path

from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

import yprov_mlflow as mlflow  # instead of: import mlflow

EPOCHS = 10
LAYERS = (1024, 512)

folder = Path("quickstart").absolute()
folder.mkdir(exist_ok=True)
mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
if mlflow.get_experiment_by_name("digits") is None:
    mlflow.create_experiment("digits", artifact_location=(folder / "artifacts").as_uri())
mlflow.set_experiment("digits")

digits = load_digits()
x_train, x_test, y_train, y_test = train_test_split(
    digits.data / 16, digits.target, test_size=0.25, random_state=0
)

with mlflow.start_run(run_name="perceptron") as run:
    mlflow.log_params({"model": "MLPClassifier", "layers": LAYERS, "epochs": EPOCHS})
    mlflow.log_input(mlflow.data.from_numpy(x_train, targets=y_train, name="digits"), "training")

    model = MLPClassifier(LAYERS, random_state=0)
    with mlflow.prov.context("training"):
        for epoch in range(EPOCHS):
            with mlflow.prov.epoch(epoch):
                model.partial_fit(x_train, y_train, classes=range(10))
                loss = log_loss(y_train, model.predict_proba(x_train))
                mlflow.log_metric("loss", loss, step=epoch)

    with mlflow.prov.context("testing"):
        accuracy = accuracy_score(y_test, model.predict(x_test))
        mlflow.log_metric("accuracy", accuracy)
    mlflow.log_dict({"classes": 10, "accuracy": accuracy}, "report.json")

document = mlflow.prov.document(run.info.run_id)  # a prov.model.ProvDocument
kinds: dict[str, int] = {}
for record in document.get_records():
    kind = record.get_type().localpart
    kinds[kind] = kinds.get(kind, 0) + 1
path = folder / "artifacts" / run.info.run_id / "artifacts" / "provenance" / "prov.json"
size = path.stat().st_size

print(f"Accuracy {accuracy:.3f} after {EPOCHS} epochs, run {run.info.run_id}")
print(f"Provenance document: {path}")
print(f"It has {sum(kinds.values())} records in {size:,} bytes:")
for kind, count in sorted(kinds.items(), key=lambda item: -item[1]):
    print(f"  {count:5} {kind}")
print("Show it with:")
print(f"  yprov-mlflow show {path}")
