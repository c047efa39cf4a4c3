"""Judges documents: PROV-CONSTRAINTS, the form of statements, and whether times can be.

``validate`` judges what is in memory; ``files.check`` what is in a file, of any format.
"""

from yprov_mlflow.validate.documents import validate
from yprov_mlflow.validate.findings import Finding
from yprov_mlflow.validate.statements import Statement

__all__ = ["Finding", "Statement", "validate"]
