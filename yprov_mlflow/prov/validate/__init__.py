"""Validation: the syntax of statements, W3C's PROV-CONSTRAINTS, and the order of times.

``validate`` checks a document in memory, ``documents.check`` a file in any format.
"""

from yprov_mlflow.prov.validate.documents import validate
from yprov_mlflow.prov.validate.rules import Finding
from yprov_mlflow.prov.validate.statements import Statement

__all__ = ["Finding", "Statement", "validate"]
