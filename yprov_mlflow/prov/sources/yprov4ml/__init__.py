"""Provenance folders that yProv4ML wrote, versions 0.1 to 3.2, as a source of runs."""

from yprov_mlflow.prov.sources.yprov4ml.yprov4ml_source import YProv4MLSource

__all__ = ["YProv4MLSource"]
