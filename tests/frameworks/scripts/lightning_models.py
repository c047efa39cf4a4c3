"""Autologging of Lightning: training with validation, tests, and checkpoints as models."""

import json
import logging
import warnings

import lightning
import mlflow
import torch
from torch.utils.data import DataLoader, TensorDataset

warnings.filterwarnings("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
mlflow.set_experiment("lightning")
mlflow.pytorch.autolog(checkpoint=True, checkpoint_save_freq="epoch")
lightning.seed_everything(0)
QUIET = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}


class Line(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 1)

    def forward(self, inputs):
        return self.layer(inputs)

    def loss(self, batch, name):
        inputs, target = batch
        loss = torch.nn.functional.mse_loss(self(inputs), target)
        self.log(name, loss, on_step=False, on_epoch=True)
        return loss

    def training_step(self, batch, index):
        return self.loss(batch, "train_loss")

    def validation_step(self, batch, index):
        self.loss(batch, "val_loss")

    def test_step(self, batch, index):
        self.loss(batch, "test_loss")

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.05)


def loader(seed):
    inputs = torch.randn(32, 3, generator=torch.Generator().manual_seed(seed))
    return DataLoader(TensorDataset(inputs, inputs.sum(1, keepdim=True)), batch_size=8)


for epochs in (2, 3):
    with mlflow.start_run(run_name=f"{epochs} epochs"):
        data = mlflow.data.from_numpy(loader(0).dataset.tensors[0].numpy(), name="line")
        mlflow.log_input(data, context="training")
        model = Line()
        trainer = lightning.Trainer(
            max_epochs=epochs, accelerator="cpu", default_root_dir="lightning", **QUIET
        )
        trainer.fit(model, loader(0), loader(1))
        trainer.test(model, loader(2), verbose=False)

models = mlflow.search_logged_models(output_format="list")
with open("trained_on.json", "w") as file:
    json.dump({model.model_id: [data.digest] for model in models}, file)

EXPECTED = ["context/testing", "context/training", "context/sanity%20check"]
with open("contexts.json", "w") as file:
    names = {
        f"{epochs} epochs": EXPECTED
        + [
            f"context/training/epoch/{n}{end}"
            for n in range(epochs)
            for end in ("", "/context/validation")
        ]
        for epochs in (2, 3)
    }
    json.dump(names, file)
