"""``yprov-mlflow doctor``: check whether runs can be captured here, and list limits."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from yprov_mlflow.prov.cli.console import FAILED, json_option, print_json, print_view, printable

if TYPE_CHECKING:
    from yprov_mlflow.prov.views.view import Table


@click.command(
    epilog="Exit codes: 0 runs can be captured, 1 they cannot, or not with these settings."
)
@click.option("--tracking-uri", metavar="URI", help="A tracking URI to check.")
@json_option
def doctor(tracking_uri: str | None, as_json: bool) -> None:
    """Check versions, settings, tracking URI and plugins, and list what cannot be captured.

    Run it where the training runs: same environment, same folder, same variables. It opens no
    store and leaves nothing behind; to check the journal folder, or its nearest existing
    parent, it creates an unnamed temporary file. Every collector is probed, whether selected
    or not.

    \b
    Examples:
      yprov-mlflow doctor
      MLFLOW_TRACKING_URI=yprov+sqlite:///mlflow.db yprov-mlflow doctor
      yprov-mlflow doctor --tracking-uri yprov+http://localhost:5000 --json
    """
    from yprov_mlflow.prov.cli import doctor_checks

    checks = doctor_checks.check(tracking_uri)
    if as_json:
        print_json(checks)
    else:
        print_view(_tables(checks), ())
        _print_verdict(checks)
    sys.exit(FAILED if checks["problems"] else 0)


def _tables(checks: Mapping[str, Any]) -> Iterator[Table]:
    from yprov_mlflow.prov.views.view import Table

    versions = [(name, number or "not installed") for name, number in checks["versions"].items()]
    yield Table("Installed", (), versions)
    settings = [(name, s["value"], s["origin"]) for name, s in checks["settings"].items()]
    yield Table("Settings", ("setting", "value", "from"), settings)
    tracking = checks["tracking"]
    keys = ("uri", "origin", "inner", "captured", "why")
    yield Table("Tracking", (), [(key, tracking[key]) for key in keys if key in tracking])
    if journals := checks["journals"]:
        pending = f"{len(journals['pending'])} not yet in a document"
        rows = [
            ("folder", journals["folder"]),
            ("writable", "yes" if journals["writable"] else "no"),
            ("runs", f"{journals['runs']}, {pending}"),
        ]
        yield Table("Journals", (), rows)
    yield Table("Code", (), [row for row in checks["code"].items() if row[1] is not None])
    columns = ("collector", "selected", "works here", "devices, or reason")
    yield Table("Collectors", columns, list(_collector_rows(checks["collectors"])))
    others = [(p["kind"], p["name"], p["reason"] or "can be used") for p in checks["plugins"]]
    if others:
        yield Table("Other plugins", ("kind", "name", "result"), others)


def _collector_rows(collectors: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    """Yield a row for each collector, and one for each thing that it cannot measure."""
    for collector in collectors:
        selected = "yes" if collector["chosen"] else "no"
        if collector["works"]:
            works = "partly" if collector["missing"] else "yes"
            details = ", ".join(collector["devices"]) or collector["summary"]
        else:
            works, details = "no", _reason(collector)
        yield collector["name"], selected, works, details
        for missing in collector["missing"]:
            what = f"{missing['what']} not measured: " if missing["what"] else ""
            yield "", "", "", what + _reason(missing)


def _reason(check: Mapping[str, Any]) -> str:
    return ". ".join(check[key].rstrip(".") for key in ("reason", "cure") if check[key]) + "."


def _print_verdict(checks: Mapping[str, Any]) -> None:
    # The verdict is last, where a terminal shows it.
    for limit in checks["limits"]:
        click.secho(printable(f"Not recorded, or not yet: {limit}"), fg="yellow")
    for problem in checks["problems"]:
        click.secho(printable(f"Problem: {problem}"), fg="red")
    if not checks["problems"]:
        click.secho("Runs can be captured here.", fg="green")
