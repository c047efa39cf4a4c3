"""Take pictures of all pages in a headless Chromium, and check them.

``python tests/look.py OUT [--axe FILE] [--mlflow] [--only NAME]`` writes PNG files, light and dark,
narrow and wide, to OUT for a person to look at, and exits with 1 if a page writes to the console,
loads anything from elsewhere, is wider than the window, has parts that the Tab key does not reach,
or, with the ``axe.min.js`` of npm's axe-core, breaks a rule of accessibility. ``--mlflow`` starts
MLflow's server and opens its pages of a run, too.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from support import servers
from support.browser import Page, browser
from support.builders.shown_runs import write_runs

from yprov_mlflow.prov.capture import run_views
from yprov_mlflow.prov.formats.file_formats import documents_below
from yprov_mlflow.prov.report import model_report, run_report
from yprov_mlflow.prov.report.experiment_report import ExperimentReport
from yprov_mlflow.prov.ui import local_server, shown_runs

WIDTHS = (1280, 420)
_READY = {
    "mlflow-overview": "document.body.innerText.includes('Provenance report')",
    "mlflow-artifacts": "!!document.querySelector('iframe')",
}
_WIDER = "document.documentElement.scrollWidth > innerWidth + 1"

TRAIN = """
import yprov_mlflow as mlflow

mlflow.set_experiment("look")
with mlflow.start_run(run_name="fox") as run, mlflow.prov.context("training"):
    mlflow.log_param("lr", 0.1)
    mlflow.log_text("weights", "model/weights.txt")
    for epoch in mlflow.prov.epochs(5):
        for step in range(40):
            mlflow.log_metric("loss", 1 / (1 + step + 40 * epoch), step=step + 40 * epoch)
mlflow.MlflowClient().create_registered_model("net")
print(run.info.experiment_id, run.info.run_id)
"""


def files(folder: Path, documents: Path) -> Iterator[tuple[str, str]]:
    """Yield the names and addresses of pages that are files."""
    loaded = [run_views.load_document(str(path)) for path in documents_below(documents)]
    runs = [document for document in loaded if "run:run" in document.records.get("activity", {})]
    catalog = shown_runs.of_documents([documents], print)
    compared = ExperimentReport(
        [run_views.summary(run) for run in runs], "study", None, maximize=False
    )
    pages = {
        "report": run_report.of_document(runs[0], products="run later\n└── model net").to_html(),
        "experiment": compared.to_html(),
        "model": model_report.of_model(catalog.graph, "models:/clf@champion").to_html(),
        "notebook": notebook(runs[0]),
    }
    for name, page in pages.items():
        path = folder / f"{name}.html"
        path.write_text(page, "utf-8")
        yield name, path.as_uri()


def notebook(run: object) -> str:
    """Return what a notebook shows of a run, in a page as plain as those of notebooks."""
    shown = "".join(view(run)._repr_html_() for view in (run_views.summary, run_views.energy))  # type: ignore[operator] # - one type for both
    body = "body { font: 14px sans-serif; overflow-wrap: anywhere; }"
    scheme = f"<style>:root {{ color-scheme: light dark; }} {body}</style>"
    viewport = '<meta name="viewport" content="width=device-width">'
    head = f'<!doctype html><html lang="en"><title>notebook</title>{viewport}{scheme}'
    return f"{head}<main><h1>notebook</h1>{shown}</main></html>"


@contextlib.contextmanager
def local_view(documents: Path) -> Iterator[list[tuple[str, str]]]:
    """Run the view in the browser, and yield its pages."""
    catalog = shown_runs.of_documents([documents], print)
    server, address = local_server.serve(catalog, local_server.LOCAL, 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    root = address.partition("?")[0]
    ids = [row["run_id"] for row in catalog.runs(local_server.Question()).rows]
    several = "&".join(f"run={run_id}" for run_id in ids)
    try:
        yield [
            ("ui", address),
            ("ui-run", f"{root}runs/{ids[0]}/"),
            ("ui-two", f"{root}compare?{'&'.join(several.split('&')[:2])}"),
            ("ui-several", f"{root}compare?{several}"),
            ("ui-lineage", f"{root}lineage?thing=models:/clf@champion"),
            ("ui-sparql", f"{root}sparql?query=SELECT ?run WHERE {{ ?run a mlf:Run }}"),
        ]
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def mlflow_pages(folder: Path) -> Iterator[list[tuple[str, str]]]:
    """Run MLflow's server with a run that has a report and a note, and yield their pages."""
    environment: Mapping[str, str] = os.environ | {"YPROV_MLFLOW_DIR": str(folder / "state")}
    store = ("--backend-store-uri", f"sqlite:///{folder / 'm.db'}", "--app-name", "yprov")
    with servers.mlflow_server(folder, environment, *store) as (address, _):
        sinks = {"MLFLOW_TRACKING_URI": address, "YPROV_MLFLOW_SINKS": "report,note"}
        command = [sys.executable, "-c", TRAIN]
        done = subprocess.run(
            command,
            env={**environment, **sinks},
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        )
        experiment, run_id = done.stdout.split()[-2:]
        run = f"{address}/#/experiments/{experiment}/runs/{run_id}"
        yield [
            ("mlflow-overview", run),
            ("mlflow-artifacts", f"{run}/artifacts/provenance/report.html"),
            ("mlflow-report", f"{address}/yprov/runs/{run_id}"),
            ("mlflow-lineage", f"{address}/yprov/runs/{run_id}/lineage"),
        ]


def problems(page: Page, root: str, axe: str) -> Iterator[str]:
    """Yield what is wrong with a page."""
    yield from (f"console: {line}" for line in page.console)
    yield from (f"loads {url}" for url in page.requests if not url.startswith((root, "data:")))
    if page.run(_WIDER):
        yield "is wider than the window"
    yield from (f"not reached: {element}" for element in page.unreachable())
    if axe:
        page.run(axe)
        for violation in page.run("axe.run().then(r => r.violations)"):
            targets = [node["html"][:120] for node in violation["nodes"]][:3]
            yield f"axe {violation['id']}: {violation['help']}: {targets}"


def main() -> int:
    """Take the pictures; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--axe", type=Path, help="axe.min.js of npm's package axe-core")
    parser.add_argument("--mlflow", action="store_true", help="MLflow's own pages, too")
    parser.add_argument("--only", default="", help="pages whose names begin so")
    arguments = parser.parse_args()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    arguments.out.mkdir(parents=True, exist_ok=True)
    axe = arguments.axe.read_text("utf-8") + "\n;0" if arguments.axe else ""
    count = 0
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="yprov-look-")))
        write_runs(folder / "documents")
        shown = [*files(folder, folder / "documents")]
        shown += stack.enter_context(local_view(folder / "documents"))
        theirs = stack.enter_context(mlflow_pages(folder)) if arguments.mlflow else []
        running = stack.enter_context(browser())
        chosen = [page for page in (*shown, *theirs) if page[0].startswith(arguments.only)]
        for name, address in chosen:
            for width in WIDTHS:
                for dark in (False, True):
                    page = running.open(address, width=width, dark=dark)
                    is_theirs = name in _READY
                    if is_theirs:
                        page.wait_for(_READY[name])
                        time.sleep(2)  # MLflow's pages fill themselves piece by piece
                    page.picture(
                        arguments.out / f"{name}-{width}-{'dark' if dark else 'light'}.png"
                    )
                    # MLflow's pages have scripts and sources of their own.
                    root = "file:" if address.startswith("file:") else address.split("?")[0][:20]
                    for problem in () if is_theirs else problems(page, root, axe):
                        count += 1
                        print(f"{name} {width} {'dark' if dark else 'light'}: {problem}")
    print(f"{count} problems; look at the pictures in {arguments.out}")
    return min(count, 1)


if __name__ == "__main__":
    sys.exit(main())
