"""Optuna: a study as run, its trials as nested runs of several threads, and MLflow's storage."""

import logging

import mlflow
import optuna
from mlflow.optuna.storage import MlflowStorage

optuna.logging.set_verbosity(optuna.logging.WARNING)
experiment = mlflow.set_experiment("optuna")


def objective(trial):
    with mlflow.start_run(
        run_name=f"trial {trial.number}", nested=True, parent_run_id=study_run.info.run_id
    ):
        x = trial.suggest_float("x", -5, 5)
        mlflow.log_params(trial.params)
        for step in range(4):
            error = (x - 2) ** 2 / (step + 1)
            mlflow.log_metric("error", error, step=step)
            trial.report(error, step)
        mlflow.log_text(str(x), "x.txt")
        return error


with mlflow.start_run(run_name="study") as study_run:
    study = optuna.create_study()
    for x in (-4, -1, 0, 1, 3.5, 4):  # samplers would depend on the order of the threads
        study.enqueue_trial({"x": x})
    study.optimize(objective, n_trials=6, n_jobs=3)
    mlflow.log_metric("best error", study.best_value)
    mlflow.log_params({f"best {key}": value for key, value in study.best_params.items()})
    mlflow.log_dict(study.best_params, "best.json")

# The storage keeps studies and trials as runs, and logs in batches from a thread.
logging.getLogger("alembic").setLevel(logging.WARNING)
storage = MlflowStorage(experiment.experiment_id)
stored = optuna.create_study(
    study_name="stored study", storage=storage, sampler=optuna.samplers.RandomSampler(seed=0)
)
stored.optimize(lambda trial: trial.suggest_float("y", 0, 1) ** 2, n_trials=3)
storage.flush_all_batches()
