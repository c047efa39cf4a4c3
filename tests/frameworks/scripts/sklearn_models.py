"""Autologging of scikit-learn: fits, scores, a search with child runs, two models in one run."""

import json

import mlflow
from mlflow.models import infer_signature
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

mlflow.set_experiment("sklearn")
mlflow.sklearn.autolog()

features, labels = make_classification(n_samples=120, n_features=5, random_state=0)
train_x, test_x, train_y, test_y = train_test_split(features, labels, random_state=0)
train = mlflow.data.from_numpy(train_x, targets=train_y).digest
halves = {}

with mlflow.start_run(run_name="linear"):
    linear = make_pipeline(StandardScaler(), LogisticRegression()).fit(train_x, train_y)
    linear.score(test_x, test_y)
    accuracy_score(test_y, linear.predict(test_x))
    log_loss(test_y, linear.predict_proba(test_x))

with mlflow.start_run(run_name="registered"):
    forest = RandomForestClassifier(n_estimators=5, random_state=0).fit(train_x, train_y)
    mlflow.log_metric("test accuracy", forest.score(test_x, test_y))
    mlflow.sklearn.log_model(
        forest,
        name="forest",
        signature=infer_signature(train_x, forest.predict(train_x)),
        registered_model_name="forest",
        serialization_format="cloudpickle",
    )

with mlflow.start_run(run_name="search"):
    grid = {"C": [0.1, 1.0], "fit_intercept": [True, False]}
    GridSearchCV(LogisticRegression(), grid, cv=3, n_jobs=1).fit(train_x, train_y)

# Two models in one run, each of its own half of the data.
with mlflow.start_run(run_name="two fits") as two:
    for half in (0, 1):
        part_x, part_y = train_x[half::2], train_y[half::2]
        LogisticRegression(C=2.0).fit(part_x, part_y)
        for model in mlflow.search_logged_models(
            filter_string=f"source_run_id = '{two.info.run_id}'", output_format="list"
        ):
            digest = mlflow.data.from_numpy(part_x, targets=part_y).digest
            halves.setdefault(model.model_id, [digest])

# A fit without a run, as in notebooks: autologging starts one and ends it.
LogisticRegression(C=3.0).fit(train_x, train_y)

with mlflow.start_run(run_name="evaluation"):
    data = mlflow.data.from_numpy(test_x, targets=test_y)
    mlflow.models.evaluate(
        "models:/forest/1",
        data,
        model_type="classifier",
        evaluators=["default"],
        evaluator_config={"default": {"log_explainer": False}},
    )

trained = {model.model_id: [train] for model in mlflow.search_logged_models(output_format="list")}
with open("trained_on.json", "w") as file:
    json.dump({**trained, **halves}, file)
