"""Documents in PROV-N, judged."""

from __future__ import annotations

from datetime import datetime

from yprov_mlflow.prov.validate import Finding, file_reports


def judge(statements: str, now: datetime | None = None) -> list[Finding]:
    """Judge statements whose names have the prefix ``ex`` or none."""
    text = f"document prefix ex <http://example.org/> default <http://example.org/d#>\n{statements}"
    report = file_reports.check_bytes("test", f"{text}\nendDocument".encode(), now)
    assert report.format == "prov-n"
    return report.findings


def errors(statements: str) -> list[str]:
    """Give the rules that statements break, without the rules' names."""
    found = [f.rule.partition(":")[0] for f in judge(statements) if f.severity == "error"]
    return list(dict.fromkeys(found))


def warnings(statements: str) -> list[str]:
    """Give the rules by which statements are odd, without the rules' names."""
    found = [f.rule.partition(":")[0] for f in judge(statements) if f.severity == "warning"]
    return list(dict.fromkeys(found))
