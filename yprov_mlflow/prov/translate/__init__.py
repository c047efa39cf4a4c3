"""Events to PROV: a pure translator, without I/O, clock or environment."""

from yprov_mlflow.prov.model.document import Builder, Document
from yprov_mlflow.prov.model.vocabulary import NAMESPACE, TERMS
from yprov_mlflow.prov.translate.batches import Coded, PointBatch
from yprov_mlflow.prov.translate.event_table import RECORDS
from yprov_mlflow.prov.translate.inverse import events_of, side_files
from yprov_mlflow.prov.translate.points import PointsSink, SideFile
from yprov_mlflow.prov.translate.translation import Options
from yprov_mlflow.prov.translate.translator import Translator, translate

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
