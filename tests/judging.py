"""Validation of statements in PROV-N."""

from __future__ import annotations

from datetime import datetime

from yprov_mlflow.prov.validate import Finding, documents


def judge(statements: str, now: datetime | None = None) -> list[Finding]:
    """Return the findings in statements whose names have the prefix ``ex`` or none."""
    text = f"document prefix ex <http://example.org/> default <http://example.org/d#>\n{statements}"
    report = documents.check_bytes("test", f"{text}\nendDocument".encode(), now)
    assert report.format == "prov-n"
    return report.findings


def errors(statements: str) -> list[str]:
    """Return the numbers of the rules that statements violate."""
    rules = [f.rule.partition(":")[0] for f in judge(statements) if f.severity == "error"]
    return list(dict.fromkeys(rules))


def warnings(statements: str) -> list[str]:
    """Return the numbers of the rules that cause warnings."""
    rules = [f.rule.partition(":")[0] for f in judge(statements) if f.severity == "warning"]
    return list(dict.fromkeys(rules))
