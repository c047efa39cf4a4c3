"""Bulk conversion: turn a store of old runs into PROV documents, in parallel and resumable.

A unit of work is one run, or everything that belongs to no run. Each unit is read, translated and
written on its own. A ledger beside the output records the units that are done: an interrupted
conversion resumes, and a repeated one converts only what changed.
"""

from yprov_mlflow.prov.convert.engine import Conversion, ConversionReport, Preview, preview
from yprov_mlflow.prov.convert.request import LAYOUTS, POINTS, Request

__all__ = ["LAYOUTS", "POINTS", "Conversion", "ConversionReport", "Preview", "Request", "preview"]
