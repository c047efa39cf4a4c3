"""Translate events to PROV and back; pure: no I/O, no clock, no environment."""

from yprov_mlflow.prov.translate.descriptions import described, is_described
from yprov_mlflow.prov.translate.inverse import (
    events_of,
    malformed_record,
    point_count,
    side_files,
)
from yprov_mlflow.prov.translate.point_batches import BATCH, Coded, PointBatch, PointsSink, SideFile
from yprov_mlflow.prov.translate.translation import Options
from yprov_mlflow.prov.translate.translator import Translator, translate

__all__ = [
    "BATCH",
    "Coded",
    "Options",
    "PointBatch",
    "PointsSink",
    "SideFile",
    "Translator",
    "described",
    "events_of",
    "is_described",
    "malformed_record",
    "point_count",
    "side_files",
    "translate",
]
