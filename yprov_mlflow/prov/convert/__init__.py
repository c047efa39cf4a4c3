"""Bulk conversion: a store of old runs becomes PROV documents, in parallel, resumable.

A unit of work is a run, or what belongs to no run. Each unit is read, translated and written
on its own; a ledger beside the output remembers which are done, so that an interrupted
conversion goes on where it stopped and a repeated one does only what changed.
"""

from yprov_mlflow.prov.convert.conversion_report import ConversionReport
from yprov_mlflow.prov.convert.engine import Conversion
from yprov_mlflow.prov.convert.preview import Preview, preview
from yprov_mlflow.prov.convert.request import LAYOUTS, POINTS, Request

__all__ = ["LAYOUTS", "POINTS", "Conversion", "ConversionReport", "Preview", "Request", "preview"]
