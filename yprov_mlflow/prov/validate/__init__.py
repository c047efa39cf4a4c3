"""Judges documents: PROV-CONSTRAINTS, the form of statements, and whether times can be.

``validate`` judges what is in memory; ``files.check`` what is in a file, of any format.
"""

from yprov_mlflow.prov.validate.findings import Finding
from yprov_mlflow.prov.validate.in_memory import validate
from yprov_mlflow.prov.validate.statements import Statement

__all__ = ["Finding", "Statement", "validate"]
