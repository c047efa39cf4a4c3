"""Autologging of LightGBM: the native interface with validation data, and scikit-learn's."""

import json

import lightgbm
import mlflow
from sklearn.datasets import make_classification

mlflow.set_experiment("lightgbm")
mlflow.lightgbm.autolog()

features, labels = make_classification(n_samples=200, n_features=5, random_state=0)
PARAMS = {
    "objective": "binary",
    "metric": ["binary_logloss", "auc"],
    "num_threads": 1,
    "verbose": -1,
    "deterministic": True,
    "seed": 0,
}

for leaves in (3, 5):
    with mlflow.start_run(run_name=f"{leaves} leaves"):
        train = lightgbm.Dataset(features[:150], label=labels[:150])
        valid = lightgbm.Dataset(features[150:], label=labels[150:])
        lightgbm.train(
            {**PARAMS, "num_leaves": leaves},
            train,
            num_boost_round=8,
            valid_sets=[train, valid],
            valid_names=["train", "valid"],
            callbacks=[lightgbm.early_stopping(3, verbose=False)],
        )

with mlflow.start_run(run_name="classifier"):
    classifier = lightgbm.LGBMClassifier(n_estimators=4, n_jobs=1, verbose=-1, random_state=0)
    classifier.fit(features[:150], labels[:150], eval_set=[(features[150:], labels[150:])])
    mlflow.lightgbm.log_model(classifier, name="leaves", registered_model_name="leaves")

digest = mlflow.data.from_numpy(features[:150], targets=labels[:150]).digest
models = mlflow.search_logged_models(output_format="list")
with open("trained_on.json", "w") as file:
    json.dump({model.model_id: [digest] for model in models}, file)
