"""Validation of PROV-N statements, without the frame of a document around them."""

from __future__ import annotations

from datetime import datetime

from yprov_mlflow.prov.validate import Finding, documents


def validate_statements(statements: str, now: datetime | None = None) -> list[Finding]:
    """Return the findings in statements whose names have the prefix ``ex`` or none."""
    text = f"document prefix ex <http://example.org/> default <http://example.org/d#>\n{statements}"
    report = documents.check_bytes("test", f"{text}\nendDocument".encode(), now)
    assert report.format == "prov-n"
    return report.findings


def error_rules(statements: str) -> list[str]:
    """Return the rules that the statements violate, without repetition."""
    return _rules(statements, "error")


def warning_rules(statements: str) -> list[str]:
    """Return the rules of the warnings that the statements cause, without repetition."""
    return _rules(statements, "warning")


def _rules(statements: str, severity: str) -> list[str]:
    findings = [f for f in validate_statements(statements) if f.severity == severity]
    return list(dict.fromkeys(f.rule.partition(":")[0] for f in findings))
