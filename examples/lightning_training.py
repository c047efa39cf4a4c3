"""Train with Lightning: contexts and epochs are recorded without a line in the training code.

Needs ``pip install 'yprov-mlflow[lightning]'``. It writes to the folder ``lightning_training`` in
the working directory; data and model are tiny and random.
"""

from pathlib import Path

import lightning
import torch
from torch.utils.data import DataLoader, TensorDataset

import yprov_mlflow as mlflow  # instead of: import mlflow

folder = Path("lightning_training").absolute()
folder.mkdir(exist_ok=True)
mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
mlflow.pytorch.autolog(log_models=False, checkpoint=False)
lightning.seed_everything(0)


class Line(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 1)

    def loss(self, batch, name):
        inputs, target = batch
        loss = torch.nn.functional.mse_loss(self.layer(inputs), target)
        self.log(name, loss, on_step=False, on_epoch=True)
        return loss

    def training_step(self, batch, index):
        return self.loss(batch, "loss")

    def validation_step(self, batch, index):
        self.loss(batch, "val_loss")

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.05)


inputs = torch.randn(64, 3)
data = TensorDataset(inputs, inputs.sum(1, keepdim=True))
trainer = lightning.Trainer(
    max_epochs=3,
    accelerator="cpu",
    default_root_dir=folder,
    logger=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)
with mlflow.start_run() as run:
    trainer.fit(Line(), DataLoader(data, batch_size=16), DataLoader(data, batch_size=64))

document = mlflow.prov.document(run.info.run_id)
print("Activities of the run:")
for activity in sorted(str(r.identifier) for r in document.get_records()):
    if activity.startswith("run:context/"):
        print(f"  {activity}")
