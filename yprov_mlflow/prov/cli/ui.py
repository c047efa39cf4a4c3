"""``yprov-mlflow ui``: runs in the browser, on this machine."""

from __future__ import annotations

import logging
import webbrowser
from pathlib import Path

import click

from yprov_mlflow.prov.cli import console
from yprov_mlflow.prov.errors import OutputError, UsageError


@click.command(epilog="Exit codes: 0 stopped by Ctrl-C, 1 failed, 2 wrong usage.")
@click.argument("paths", metavar="[PATH]...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--port", default=5100, show_default=True, help="Port; 0 takes any that is free.")
@click.option("--open", "opens", is_flag=True, help="Open the page in a browser.")
@console.tracking_uri_option
def ui(
    paths: tuple[Path, ...], *, host: str, port: int, opens: bool, tracking_uri: str | None
) -> None:
    """Look at runs in the browser: search, sort, compare, follow lineage, ask in SPARQL.

    Without a PATH it shows the runs of the index; with some, the documents there, such as the
    output of `convert`. It needs no network. Only this machine can open it, and only with the
    token in the address that it prints.

    \b
    Examples:
      yprov-mlflow ui --open
      yprov-mlflow ui prov
    """
    try:
        from yprov_mlflow.prov.ui import local_server, shown_runs
    except ModuleNotFoundError as error:
        cure = "Install MLflow, which brings it: pip install mlflow"
        raise UsageError(f"the view needs {error.name}", None, cure) from error
    for path in paths:
        if not path.exists():
            raise UsageError("no such file or folder", str(path), "Name the output of `convert`")
    problems: list[str] = []
    runs = (
        shown_runs.of_documents(paths, problems.append)
        if paths
        else shown_runs.of_index(problems.append, tracking_uri)
    )
    console.print_first(problems)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    try:
        server, address = local_server.serve(runs, host, port)
    except OSError as error:
        raise OutputError.unwritable(f"{host}:{port}", error) from error
    click.echo(f"Open {address}\nStop with Ctrl-C.")
    if opens:
        webbrowser.open(address)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        click.echo("Stopped.")
    finally:
        server.server_close()
