"""Events to PROV: a pure translator, without I/O, clock or environment."""

from yprov_mlflow.translate.batches import Coded, PointBatch
from yprov_mlflow.translate.document import Builder, Document
from yprov_mlflow.translate.inverse import events_of, side_files
from yprov_mlflow.translate.points import PointsSink, SideFile
from yprov_mlflow.translate.records import RECORDS
from yprov_mlflow.translate.translation import Options
from yprov_mlflow.translate.translator import Translator, translate
from yprov_mlflow.translate.vocabulary import NAMESPACE, TERMS

__all__ = [
    "NAMESPACE",
    "RECORDS",
    "TERMS",
    "Builder",
    "Coded",
    "Document",
    "Options",
    "PointBatch",
    "PointsSink",
    "SideFile",
    "Translator",
    "events_of",
    "side_files",
    "translate",
]
