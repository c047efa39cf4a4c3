"""Verdicts on documents, as tables for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from yprov_mlflow.prov.cli.console import printable

if TYPE_CHECKING:
    from yprov_mlflow.prov.validate.file_reports import FileReport

_MOST_SHOWN = 50
_STYLES = {"error": "bold red", "warning": "yellow"}


def show(report: FileReport) -> None:
    """Print what was found in a file, the first of it in full, and a line that sums it up."""
    console = Console()
    if report.findings:
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(no_wrap=True)
        table.add_column(ratio=1, overflow="fold", min_width=16)
        table.add_column(ratio=3, overflow="fold")
        ordered = sorted(report.findings, key=lambda finding: finding.severity)
        for finding in ordered[:_MOST_SHOWN]:
            place = f"{finding.record} in {finding.bundle}" if finding.bundle else finding.record
            what = f"{place}: {finding.message}" if place else finding.message
            table.add_row(
                Text(finding.severity, style=_STYLES[finding.severity]),
                Text(printable(finding.rule)),
                Text(printable(what)),
            )
        console.print(table)
    hidden = report.errors + report.warnings - _MOST_SHOWN
    if hidden > 0:
        console.print(Text(f"… and {hidden} more (--format json has them)", style="dim"))
    console.print(_summary(report), soft_wrap=True)


def _summary(report: FileReport) -> Text:
    judgement = "valid" if report.valid else _count(report.errors, "error")
    parts = [judgement]
    if report.warnings:
        parts.append(_count(report.warnings, "warning"))
    extent = _count(report.records, "record")
    if report.bundles:
        extent += f" in {_count(report.bundles, 'bundle')}"
    parts.append(extent)
    style = "green" if report.valid else _STYLES["error"]
    return Text.assemble(f"{printable(report.file)}: ", (", ".join(parts), style))


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
