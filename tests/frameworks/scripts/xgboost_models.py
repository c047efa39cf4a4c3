"""Autologging of XGBoost: the native interface with evaluation data, and scikit-learn's."""

import json

import mlflow
import xgboost
from sklearn.datasets import make_regression

mlflow.set_experiment("xgboost")
mlflow.autolog(log_input_examples=True)

features, target = make_regression(n_samples=120, n_features=4, random_state=0)
train = xgboost.DMatrix(features[:90], label=target[:90])
valid = xgboost.DMatrix(features[90:], label=target[90:])
PARAMS = {"max_depth": 2, "eta": 0.3, "nthread": 1, "seed": 0}

for depth, rounds in ((2, 6), (3, 60)):  # more than 100 points are in a file
    with mlflow.start_run(run_name=f"depth {depth}"):
        booster = xgboost.train(
            {**PARAMS, "max_depth": depth},
            train,
            num_boost_round=rounds,
            evals=[(train, "train"), (valid, "valid")],
            early_stopping_rounds=rounds,
            verbose_eval=False,
        )
        mlflow.log_metric("test error", float(abs(booster.predict(valid) - target[90:]).mean()))

with mlflow.start_run(run_name="regressor"):
    regressor = xgboost.XGBRegressor(n_estimators=4, max_depth=2, n_jobs=1, random_state=0)
    regressor.fit(features[:90], target[:90], eval_set=[(features[90:], target[90:])], verbose=0)
    mlflow.xgboost.log_model(regressor, name="regressor", registered_model_name="regressor")

# Each run trained its models on its only dataset for training.
trained = {}
for model in mlflow.search_logged_models(output_format="list"):
    used = mlflow.get_run(model.source_run_id).inputs.dataset_inputs
    trained[model.model_id] = [u.dataset.digest for u in used if u.tags[0].value == "train"]
    assert len(trained[model.model_id]) == 1
with open("trained_on.json", "w") as file:
    json.dump(trained, file)
