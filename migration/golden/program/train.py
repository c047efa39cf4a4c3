"""Log one of everything to one store: ``python train.py VERSION STORE``, in an empty folder.

STORE is ``tree`` (MLflow's files) or ``database`` (SQLite). Writes ``diary.json``, what it did.
The same program runs under every version and Python: what a version does not have is left out.
"""

import os
import sys

import setting


def main(version, store):
    clock = setting.fix(version)
    # All these import MLflow, which must not see the real clock.
    import experiments
    import logged_models
    import mlflow.version
    import registry
    import runs
    import traces
    from diary import Diary

    if version != mlflow.version.VERSION:
        sys.exit(f"this is MLflow {mlflow.version.VERSION} and not {version}")
    in_database = store == "database"
    mlflow.set_tracking_uri("sqlite:///mlflow.db" if in_database else os.path.abspath("mlruns"))
    client = getattr(mlflow.tracking, "MlflowClient", lambda: None)()
    diary = Diary(version, in_database, clock, client)
    kept, dropped = experiments.make(diary)
    trained, child = runs.log(diary, kept, dropped)
    models = logged_models.log(diary, kept, trained, child)
    registry.log(diary, trained, models)
    traces.log(diary, kept, trained)
    experiments.end(diary, dropped)
    runs.look_at_tags(diary)
    diary.write("diary.json")


if __name__ == "__main__":
    VERSION, STORE = sys.argv[1:]
    sys.argv = ["train.py"]  # which MLflow notes as the name of the source
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"  # late versions open no tree otherwise
    os.environ["MLFLOW_ENABLE_ASYNC_TRACE_LOGGING"] = "false"
    main(VERSION, STORE)
