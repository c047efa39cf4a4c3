"""Verbs of yProv4ML about models and their data: operations, layers, statistics of loaders."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sized
from typing import Any

import mlflow
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.dataset import Dataset

from yprov_mlflow.prov.capture.yprov_verbs import describe, log_metric
from yprov_mlflow.prov.errors import MissingExtraError, UsageError

_COUNTER = "torch.utils.flop_counter"


def log_flops_per_batch(
    model: Any, batch: Any, *, key: str = "flops_per_batch", step: int | None = None
) -> int:
    """Log the floating-point operations of one forward pass of a PyTorch model.

    The model runs once, without gradients and in evaluation mode; its mode and the state of
    random numbers are restored.

    Args:
        model: A ``torch.nn.Module``.
        batch: Its inputs: a tensor, a tuple of positional or a mapping of keyword arguments.
        key: Name of the metric.
        step: Step of the metric.

    Returns:
        The number of operations.

    Raises:
        MissingExtraError: PyTorch is not installed.
    """
    count = _count_operations(model, batch)
    log_metric(key, count, step, source=_COUNTER)
    return count


def log_flops_per_epoch(
    model: Any,
    batch: Any,
    batches: int | Sized,
    *,
    key: str = "flops_per_epoch",
    step: int | None = None,
) -> int:
    """Log the floating-point operations of the forward passes of one epoch.

    It is the count of one batch times the number of batches; no data are read.

    Args:
        model: A ``torch.nn.Module``.
        batch: Inputs of one batch, as in ``log_flops_per_batch``.
        batches: Number of batches, or a loader that has a length.
        key: Name of the metric.
        step: Step of the metric.

    Returns:
        The number of operations.

    Raises:
        MissingExtraError: PyTorch is not installed.
    """
    count = _count_operations(model, batch) * (
        len(batches) if isinstance(batches, Sized) else batches
    )
    log_metric(key, count, step, source=_COUNTER)
    return count


def _count_operations(model: Any, batch: Any) -> int:
    try:
        # Imported on use: only this function needs PyTorch.
        import torch
        from torch.utils.flop_counter import FlopCounterMode
    except ImportError as error:
        raise MissingExtraError.of("PyTorch", "torch", "counting operations") from error
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        with torch.random.fork_rng(), torch.no_grad(), FlopCounterMode(display=False) as counter:
            if isinstance(batch, Mapping):
                model(**batch)
            else:
                model(*(batch if isinstance(batch, tuple | list) else (batch,)))
    finally:
        for module, training in modes:
            module.training = training
    return int(counter.get_total_flops())


def log_model_information(model: Any, name: str = "model") -> dict[str, int]:
    """Log layers, parameters and memory of a PyTorch or Keras model.

    The totals become the params ``<name>.parameters``, ``.trainable_parameters``, ``.layers``
    and ``.memory_bytes``; the artifact ``model_information/<name>.json`` has each layer.

    Args:
        model: A ``torch.nn.Module`` or a Keras model.
        name: First part of the params, if the run has several models.

    Returns:
        The totals.

    Raises:
        UsageError: The model is of neither kind.
    """
    if hasattr(model, "named_modules") and hasattr(model, "buffers"):
        layers = _torch_layers(model)
        tensors = [*model.parameters(), *model.buffers()]
        trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
        parameters = sum(p.numel() for p in model.parameters())
        size = sum(t.numel() * t.element_size() for t in tensors)
    elif hasattr(model, "count_params") and hasattr(model, "layers"):
        layers = [
            {"name": layer.name, "type": type(layer).__name__, "parameters": layer.count_params()}
            for layer in model.layers
        ]
        parameters = int(model.count_params())
        trainable = sum(_product(weight.shape) for weight in model.trainable_weights)
        size = sum(_product(w.shape) * _item_bytes(w) for w in model.weights)
    else:
        raise UsageError(
            f"prov.log_model_information takes a PyTorch or Keras model, not {type(model).__name__}"
        )
    totals = {
        "parameters": parameters,
        "trainable_parameters": trainable,
        "layers": len(layers),
        "memory_bytes": size,
    }
    mlflow.log_params({f"{name}.{key}": value for key, value in totals.items()})
    mlflow.log_dict({**totals, "each": layers}, f"model_information/{name}.json")
    return totals


def _torch_layers(model: Any) -> list[dict[str, Any]]:
    """Return the modules without parts of their own."""
    return [
        {
            "name": name,
            "type": type(module).__name__,
            "parameters": sum(p.numel() for p in module.parameters()),
        }
        for name, module in model.named_modules()
        if not any(True for _ in module.children())
    ]


def _product(shape: Any) -> int:
    total = 1
    for size in shape:
        total *= int(size)
    return total


def _item_bytes(weight: Any) -> int:
    digits = "".join(filter(str.isdigit, str(weight.dtype)))
    return int(digits) // 8 if digits else 1


class LoaderDataset(Dataset):
    """A dataset of MLflow that has statistics of a loader as its profile."""

    def __init__(self, statistics: Mapping[str, Any], name: str, digest: str) -> None:
        self._statistics = dict(statistics)
        super().__init__(source=CodeDatasetSource({}), name=name, digest=digest)

    def _compute_digest(self) -> str:
        return str(self._digest)

    def to_dict(self) -> dict[str, str]:
        """Return the fields of MLflow's dataset, with the statistics."""
        return {**super().to_dict(), "profile": self.profile}

    @property
    def profile(self) -> str:
        """Return the statistics as JSON."""
        return json.dumps(self._statistics, sort_keys=True)

    @property
    def schema(self) -> None:
        """Return None: the columns of a loader are unknown."""
        return None


def log_dataset(
    loader: Any, name: str, *, context: str | None = None, read_sample: bool = False
) -> dict[str, Any]:
    """Log a PyTorch ``DataLoader`` or dataset as an input of the run, with its statistics.

    They are the profile of MLflow's dataset: ``samples``, ``batches``, ``batch_size``,
    ``drop_last``, ``workers`` and ``sampler``, as far as the loader has them. It reads no data,
    so the digest is of this run and these statistics, not of the content.

    Args:
        loader: The loader, or anything with a length.
        name: Name of the dataset.
        context: Its purpose, such as ``"training"``.
        read_sample: Whether to read the first sample of the dataset, for its shape and type.

    Returns:
        The statistics.

    Raises:
        UsageError: The object lacks a length, a batch size and a dataset.
    """
    data = getattr(loader, "dataset", loader)
    statistics = {
        "samples": _length(data),
        "batches": _length(loader) if data is not loader else None,
        "batch_size": getattr(loader, "batch_size", None),
        "drop_last": getattr(loader, "drop_last", None),
        "workers": getattr(loader, "num_workers", None),
        "sampler": type(loader.sampler).__name__ if hasattr(loader, "sampler") else None,
        "type": describe(data)["type"],
    }
    statistics = {key: value for key, value in statistics.items() if value is not None}
    if len(statistics) == 1:
        raise UsageError(f"prov.log_dataset takes a loader or dataset, not {type(loader).__name__}")
    if read_sample:
        first = data[0]
        parts = first if isinstance(first, tuple | list) else (first,)
        statistics["sample"] = [describe(part) for part in parts]
    run = mlflow.active_run() or mlflow.start_run()
    identity = json.dumps([run.info.run_id, name, statistics], sort_keys=True)
    digest = hashlib.sha256(identity.encode()).hexdigest()[:16]
    mlflow.log_input(LoaderDataset(statistics, name, digest), context=context)
    return statistics


def _length(data: Any) -> int | None:
    try:
        return len(data)
    except TypeError:  # streams have none
        return None
