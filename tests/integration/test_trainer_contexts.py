"""Trainers of Lightning and Transformers leave contexts and epochs without user code.

The packages here are small stand-ins that call hooks in the order of the real ones; the nox session
``frameworks`` trains with the real ones.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from integration.conftest import Sandbox

FRAMEWORKS = str(Path(__file__).parents[1] / "support" / "fakes" / "frameworks")

TRAIN = """
import json, pickle
import mlflow
from lightning.pytorch import Callback, MLFlowLogger
from lightning.pytorch.trainer.trainer import Trainer
import transformers
from transformers.trainer import MLflowCallback

class Own(Callback):
    hooks = 0
    def on_train_epoch_end(self, trainer, module):
        Own.hooks += 1
        pickle.dumps(trainer.callbacks)
        mlflow.log_metric("own", 1.0, step=trainer.current_epoch)

class Failing(Callback):
    def on_train_epoch_start(self, trainer, module):
        raise ZeroDivisionError("by the user")

mlflow.set_experiment("trainers")
runs, facts = {}, {}
with mlflow.start_run() as run:
    runs["active"] = run.info.run_id
    own = Own()
    trainer = Trainer(2, [own])
    assert trainer.fit() is None
    facts["results"] = trainer.test()
    trainer.validate(), trainer.predict()
    facts["callbacks"] = [type(c).__name__ for c in trainer.callbacks]
    facts["hooks"] = Own.hooks
with mlflow.start_run() as run:
    runs["failed"] = run.info.run_id
    trainer = Trainer(2, [Failing()])
    try:
        trainer.fit()
    except ZeroDivisionError:
        facts["callbacks after failure"] = len(trainer.callbacks)
with mlflow.start_run() as run, mlflow_prov.context("training"):
    runs["own context"] = run.info.run_id
    Trainer(1, [Own()]).fit()
logger = MLFlowLogger("trainers", None, mlflow.get_tracking_uri())
runs["logger"] = logger.run_id
Trainer(2, logger=logger).fit()
logger.finalize()

trainer = transformers.Trainer(2)
facts["trained"] = trainer.train()
runs["transformers"] = mlflow.active_run().info.run_id
facts["evaluated"], facts["predicted"] = trainer.evaluate(), trainer.predict()
facts["transformers callbacks"] = [type(c).__name__ for c in trainer.callback_handler.callbacks]
mlflow.end_run()
print(json.dumps({"runs": runs, "facts": facts}))
"""
PROV = "from yprov_mlflow import prov as mlflow_prov\n"

LIGHTNING = ["context/sanity%20check", "context/sanity%20check/context/validation"]
EPOCH = "context/training/epoch/"


def contexts(sandbox: Sandbox, run_id: str) -> dict[str, Any]:
    """Return contexts and epochs, by the ends of their ids."""
    document = sandbox.document(run_id)
    activities = {**document.of_type("mlf:Context"), **document.of_type("mlf:Epoch")}
    return {name.partition(":")[2]: activity for name, activity in activities.items()}


def places(sandbox: Sandbox, run_id: str, key: str) -> list[str]:
    """Return the activities that generated the points of a metric, in order of steps."""
    document = sandbox.document(run_id)
    points = document.of_type("mlf:MetricSample")
    ordered = sorted(
        (int(p["mlf:step"]["$"]), name) for name, p in points.items() if p["schema:name"] == key
    )
    return [document.generated_by[name].partition(":")[2] for _, name in ordered]


@pytest.fixture(scope="module")
def trained(shared_sandbox: Sandbox) -> dict[str, Any]:
    env = {"YPROV_MLFLOW": "1", "PYTHONPATH": FRAMEWORKS, "YPROV_MLFLOW_COLLECTORS": "none"}
    result: dict[str, Any] = shared_sandbox.run(PROV + TRAIN, shared_sandbox.sqlite, **env).json
    return result


def test_lightning_trainer_enters_contexts_and_epochs(
    shared_sandbox: Sandbox, trained: dict[str, Any]
) -> None:
    run_id = trained["runs"]["active"]
    assert sorted(contexts(shared_sandbox, run_id)) == sorted(
        [
            *LIGHTNING,
            "context/training",
            *(f"{EPOCH}{n}" for n in range(2)),
            *(f"{EPOCH}{n}/context/validation" for n in range(2)),
            "context/validation",
            "context/testing",
            "context/prediction",
        ]
    )
    assert places(shared_sandbox, run_id, "own") == [f"{EPOCH}0", f"{EPOCH}1"]


def test_lightning_logger_needs_no_active_run(
    shared_sandbox: Sandbox, trained: dict[str, Any]
) -> None:
    run_id = trained["runs"]["logger"]
    losses = places(shared_sandbox, run_id, "train_loss")
    assert losses == [f"{EPOCH}0", f"{EPOCH}1"]  # logged after the hooks of the epoch's end
    inner = [f"{EPOCH}{n}/context/validation" for n in range(2)]
    assert places(shared_sandbox, run_id, "val_loss") == inner


def test_failed_training_leaves_failed_contexts(
    shared_sandbox: Sandbox, trained: dict[str, Any]
) -> None:
    activities = contexts(shared_sandbox, trained["runs"]["failed"])
    failed = [name for name, record in activities.items() if "mlf:failed" in record]
    assert failed == ["context/training", f"{EPOCH}0"]
    assert "prov:endTime" in activities["context/training"]


def test_context_of_the_user_is_not_entered_twice(
    shared_sandbox: Sandbox, trained: dict[str, Any]
) -> None:
    run_id = trained["runs"]["own context"]
    assert places(shared_sandbox, run_id, "own") == [f"{EPOCH}0"]
    assert "context/training/context/training" not in contexts(shared_sandbox, run_id)


def test_transformers_trainer_enters_contexts_and_epochs(
    shared_sandbox: Sandbox, trained: dict[str, Any]
) -> None:
    run_id = trained["runs"]["transformers"]
    inner = [f"{EPOCH}{n}/context/validation" for n in range(2)]
    assert sorted(contexts(shared_sandbox, run_id)) == sorted(
        [
            "context/training",
            *(f"{EPOCH}{n}" for n in range(2)),
            *inner,
            "context/validation",
            "context/testing",
        ]
    )
    assert places(shared_sandbox, run_id, "loss") == [f"{EPOCH}0", f"{EPOCH}1"]
    assert places(shared_sandbox, run_id, "eval_loss") == [*inner, "context/validation"]
    assert places(shared_sandbox, run_id, "train_runtime") == ["context/training"]


def test_trainers_are_as_before(trained: dict[str, Any]) -> None:
    assert trained["facts"] == {
        "results": [{"test_loss": 2.0}],
        "callbacks": ["Own"],
        "hooks": 2,
        "callbacks after failure": 1,
        "trained": "trained",
        "evaluated": {"eval_loss": 1.0},
        "predicted": "predicted",
        "transformers callbacks": ["MLflowCallback"],
    }


@pytest.mark.long
def test_setting_turns_automatic_contexts_off(sandbox: Sandbox) -> None:
    env = {"YPROV_MLFLOW": "1", "PYTHONPATH": FRAMEWORKS, "YPROV_MLFLOW_AUTO_CONTEXTS": "0"}
    result = sandbox.run(PROV + TRAIN, sandbox.sqlite, **env).json
    assert result["facts"]["transformers callbacks"] == ["MLflowCallback"]
    for name in ("active", "failed", "logger", "transformers"):
        assert contexts(sandbox, result["runs"][name]) == {}


EXPLICIT = """
import json
import mlflow
from lightning.pytorch.trainer.trainer import Trainer
import transformers
from yprov_mlflow.prov.integrations.lightning import ContextCallback, ProvLogger
from yprov_mlflow.prov.integrations import transformers as own

logger = ProvLogger("trainers")  # its runs are captured, though nothing else asks for capture
Trainer(1, [ContextCallback()], logger=logger).fit()
logger.finalize()
trainer = transformers.Trainer(1, [own.ContextCallback()])
with mlflow.start_run() as run:
    trainer.train()
print(json.dumps([logger.run_id, run.info.run_id]))
"""


@pytest.mark.long
def test_callbacks_and_logger_work_when_passed(sandbox: Sandbox) -> None:
    env = {"PYTHONPATH": FRAMEWORKS, "YPROV_MLFLOW_AUTO_CONTEXTS": "0"}
    lightning, transformers = sandbox.run(EXPLICIT, sandbox.sqlite, **env).json
    assert places(sandbox, lightning, "train_loss") == [f"{EPOCH}0"]
    assert places(sandbox, lightning, "val_loss") == [f"{EPOCH}0/context/validation"]
    assert places(sandbox, transformers, "loss") == [f"{EPOCH}0"]


LOOP = """
import json
import yprov_mlflow as mlflow

with mlflow.start_run() as run:
    for number in mlflow.prov.epochs(5, context="training"):
        mlflow.log_metric("loss", 1.0, step=number)
        if number == 1:
            break
    mlflow.log_metric("after", 1.0)
    for number in mlflow.prov.epochs(range(7, 8)):
        mlflow.log_metric("late", 1.0, step=number)
print(json.dumps(run.info.run_id))
"""


def test_plain_loop_enters_epochs_and_leaves_them_at_break(sandbox: Sandbox) -> None:
    run_id = sandbox.train(LOOP, sandbox.sqlite).json
    assert places(sandbox, run_id, "loss") == [f"{EPOCH}0", f"{EPOCH}1"]
    assert places(sandbox, run_id, "after") == ["session/1"]
    assert places(sandbox, run_id, "late") == ["epoch/7"]
    training = contexts(sandbox, run_id)["context/training"]
    assert "mlf:failed" not in training


BATCHES = """
import json
import yprov_mlflow as mlflow
from mlflow.utils.autologging_utils import BatchMetricsLogger

with mlflow.start_run() as run:
    batches = BatchMetricsLogger(run.info.run_id)
    batches.total_log_batch_time = 1e9  # autologging writes later if writing is slow
    for number in mlflow.prov.epochs(2, context="training"):
        batches.record_metrics({"loss": 1.0}, number)
        mlflow.log_metric("queued", 1.0, step=number, synchronous=False)
    mlflow.flush_async_logging()
    batches.flush()
print(json.dumps(run.info.run_id))
"""


def test_points_in_batches_and_queues_belong_to_the_epoch_they_come_from(sandbox: Sandbox) -> None:
    run_id = sandbox.train(BATCHES, sandbox.sqlite).json
    for key in ("loss", "queued"):
        assert places(sandbox, run_id, key) == [f"{EPOCH}0", f"{EPOCH}1"]
