"""Verbs of ``mlflow.prov`` with PyTorch itself: operations, layers, statistics of a loader."""

import json

import mlflow
import torch
from torch.utils.data import DataLoader, TensorDataset

from yprov_mlflow import prov

mlflow.set_experiment("torch verbs")
torch.manual_seed(0)
model = torch.nn.Sequential(
    torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Dropout(), torch.nn.Linear(8, 1)
)
model[0].weight.requires_grad_(False)
loader = DataLoader(TensorDataset(torch.randn(10, 4), torch.randn(10, 1)), batch_size=4)
inputs = torch.randn(4, 4)
state = {name: value.clone() for name, value in model.state_dict().items()}
random_state = torch.random.get_rng_state()

with mlflow.start_run(run_name="verbs"):
    batch = prov.log_flops_per_batch(model, inputs)
    # Two multiplications of matrices: 2 operations for each of 4 x 4 x 8 and 4 x 8 x 1 products.
    assert batch == 2 * 4 * (4 * 8 + 8 * 1), batch
    assert prov.log_flops_per_epoch(model, (inputs,), loader) == 3 * batch
    totals = prov.log_model_information(model)
    assert totals == {
        "parameters": 4 * 8 + 8 + 16 + 8 + 1,
        "trainable_parameters": 8 + 16 + 8 + 1,
        "layers": 4,
        "memory_bytes": 4 * (4 * 8 + 8 + 16 + 8 + 1 + 16) + 8,  # with the state of the norm
    }, totals
    statistics = prov.log_dataset(loader, "train", context="training", read_sample=True)
    assert statistics == {
        "samples": 10,
        "batches": 3,
        "batch_size": 4,
        "drop_last": False,
        "workers": 0,
        "sampler": "SequentialSampler",
        "type": "torch.utils.data.dataset.TensorDataset",
        "sample": [
            {"type": "torch.Tensor", "shape": [4], "dtype": "torch.float32"},
            {"type": "torch.Tensor", "shape": [1], "dtype": "torch.float32"},
        ],
    }, statistics

assert model.training and all(module.training for module in model)
assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
assert torch.equal(random_state, torch.random.get_rng_state())

with open("trained_on.json", "w") as file:
    json.dump({}, file)
