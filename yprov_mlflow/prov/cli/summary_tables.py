"""Summaries as tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from yprov_mlflow.prov.cli.console import printable

Row = Sequence[object]
_HASH_LENGTH = 16


def show(summary: Mapping[str, Any]) -> None:
    """Print the summary of a document; sections that are empty are left out."""
    console = Console()
    section(console, "Run", (), _run(summary["run"]))
    section(console, "Params", ("key", "value"), summary["params"].items())
    section(console, "Tags", ("key", "value"), summary["tags"].items())
    section(
        console,
        "Metrics",
        ("metric", "points", "first", "last", "min", "max"),
        [
            ("/".join((*m["context"], m["key"])), *_cells(m, "count first last min max"))
            for m in summary["metrics"]
        ],
    )
    section(
        console,
        "Contexts",
        ("context", "epochs", "start (UTC)", "end"),
        [(*_cells(context, "name epochs"), *_times(context)) for context in summary["contexts"]],
    )
    section(
        console,
        "Data sets",
        ("name", "digest", "for", "source"),
        [
            (d.get("name"), d.get("digest"), ", ".join(d["contexts"]), d.get("source_type"))
            for d in summary["datasets"]
        ],
    )
    section(
        console,
        "Models",
        ("id", "name", "type", "status"),
        [_cells(model, "id name type status") for model in summary["models"]],
    )
    section(
        console,
        "Artifacts",
        ("path", "bytes", "sha256", "versions"),
        [
            (a.get("path"), a.get("size"), _short(a.get("sha256")), a["versions"])
            for a in summary["artifacts"]
        ],
    )
    section(
        console,
        "Sessions",
        ("session", "pid", "start (UTC)", "end", "command"),
        [(*_cells(s, "label pid"), *_times(s), s.get("command")) for s in summary["sessions"]],
    )
    section(console, "Ran on", (), [*_code(summary), *_environment(summary), *_hosts(summary)])
    total = sum(summary["records"].values())
    console.print(Text(f"{total} PROV records", style="dim"))


def section(console: Console, title: str, columns: Sequence[str], rows: Any) -> None:
    """Print a table, without a heading if no columns are named; nothing if it has no rows."""
    rows = [[_text(cell) for cell in row] for row in rows]
    if not rows:
        return
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        show_header=bool(columns),
        box=None,
        pad_edge=False,
    )
    for column in columns or ("", ""):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    console.print()


def _text(cell: object) -> Text:
    if isinstance(cell, float):
        return Text(f"{cell:.6g}")
    return Text("" if cell is None else printable(str(cell)))


def _cells(record: Mapping[str, Any], keys: str) -> Row:
    return [record.get(key) for key in keys.split()]


def _times(record: Mapping[str, Any]) -> Row:
    """Give start and end to the second, as in the document in UTC."""
    times = (record.get("start"), record.get("end"))
    return [str(time)[:19].replace("T", " ") if time else None for time in times]


def _short(sha256: object) -> str | None:
    return f"{str(sha256)[:_HASH_LENGTH]}…" if sha256 else None


def _run(run: Mapping[str, Any]) -> list[Row]:
    keys = ("name", "id", "status", "start", "end", "experiment", "user")
    return [(key, run[key]) for key in keys if run.get(key) is not None]


def _code(summary: Mapping[str, Any]) -> list[Row]:
    rows: list[Row] = []
    for code in summary["code"]:
        commit = str(code.get("commit", "no commit"))
        changed = ", with changes that are not committed" if code.get("dirty") else ""
        rows.append(("code", f"{code.get('entry_point', '')} at {commit}{changed}"))
    return rows


def _environment(summary: Mapping[str, Any]) -> list[Row]:
    return [
        ("environment", f"Python {e.get('python')}, {len(e['packages'])} packages")
        for e in summary["environments"]
    ]


def _hosts(summary: Mapping[str, Any]) -> list[Row]:
    return [
        ("host", ", ".join(str(value) for value in host.values() if not isinstance(value, int)))
        for host in summary["hosts"]
    ]


def show_findings(found: Mapping[str, Any]) -> None:
    """Print what ``findings.examine`` found, what is wrong last."""
    console = Console()
    section(
        console,
        "Installed",
        (),
        [(name, number or "not installed") for name, number in found["versions"].items()],
    )
    section(
        console,
        "Settings",
        ("setting", "value", "from"),
        [(name, s["value"], s["origin"]) for name, s in found["settings"].items()],
    )
    tracking = found["tracking"]
    keys = ("uri", "origin", "inner", "captured", "why")
    section(console, "Tracking", (), [(key, tracking[key]) for key in keys if key in tracking])
    journals = found["journals"]
    if journals:
        runs = f"{journals['runs']}, of which {len(journals['pending'])} await their document"
        writable = "yes" if journals["writable"] else "no"
        rows = [("folder", journals["folder"]), ("writable", writable), ("runs", runs)]
        section(console, "Journals", (), rows)
    section(console, "Code", (), [row for row in found["code"].items() if row[1] is not None])
    heads = ("collector", "chosen", "works here", "what it found")
    section(console, "Collectors", heads, _collectors(found["collectors"]))
    for limit in found["limits"]:
        console.print(Text(f"Not recorded or not yet: {printable(limit)}", style="yellow"))
    for problem in found["problems"]:
        console.print(Text(f"Problem: {printable(problem)}", style="bold red"))
    if not found["problems"]:
        console.print(Text("Runs can be captured here.", style="green"))


def _collectors(collectors: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Give a row for each collector, and one below it for each part that it lacks."""
    rows: list[Row] = []
    for one in collectors:
        works = ("partly" if one["missing"] else "yes") if one["works"] else "no"
        said = ", ".join(one["devices"]) or one["summary"] if one["works"] else _lack(one)
        rows.append((one["name"], "yes" if one["chosen"] else "no", works, said))
        for lack in one["missing"]:
            what = f"not {lack['what']}: " if lack["what"] else ""
            rows.append(("", "", "", what + _lack(lack)))
    return rows


def _lack(lack: Mapping[str, Any]) -> str:
    return ". ".join(str(lack[key]).rstrip(".") for key in ("reason", "cure") if lack[key]) + "."
