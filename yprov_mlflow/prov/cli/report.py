"""``yprov-mlflow report``: a run, model or experiment as a page, Markdown or a picture."""

from __future__ import annotations

import webbrowser
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from yprov_mlflow.prov.cli import console, graph_options
from yprov_mlflow.prov.cli.crate_runs import Documents, documents_of
from yprov_mlflow.prov.errors import OutputError, UsageError

if TYPE_CHECKING:
    from yprov_mlflow.prov.model.document import Document
    from yprov_mlflow.prov.report.prov_picture import Picture
    from yprov_mlflow.prov.translate import PointBatch

_SUFFIXES = {
    ".html": "html",
    ".htm": "html",
    ".md": "markdown",
    ".svg": "svg",
    ".png": "png",
    ".dot": "dot",
    ".gv": "dot",
    ".mmd": "mermaid",
}
_FORMS = tuple(dict.fromkeys(_SUFFIXES.values()))
_PAGES = ("html", "markdown")
_DEFAULT_FILES = {"html": "report.html", "png": "report.png"}
_MODEL = ("models:/", "model:", "prompts:/")


@click.command(epilog="Exit codes: 0 done, 1 no such run or document, 2 wrong usage.")
@click.argument(
    "source", metavar="RUN|MODEL|EXPERIMENT|DOCUMENT|FOLDER", callback=console.not_empty
)
@click.option("-o", "--out", metavar="FILE", help="Write to a file; its name selects the form.")
@click.option("--format", "form", type=click.Choice(_FORMS), help="Form; by default html.")
@click.option(
    "--level",
    type=click.Choice(["summary", "full"]),
    default="summary",
    show_default=True,
    help="Records of a picture: joined by kind, or each one.",
)
@click.option("--metric", metavar="NAME", help="Compare runs by this metric; by default a loss.")
@click.option("--maximize", is_flag=True, help="A larger value of the metric is better.")
@click.option("--open", "opens", is_flag=True, help="Open the page in a browser.")
@graph_options.source_option
@console.tracking_uri_option
@console.json_option
def report(
    source: str,
    *,
    out: str | None,
    form: str | None,
    level: str,
    metric: str | None,
    maximize: bool,
    opens: bool,
    sources: tuple[str, ...],
    tracking_uri: str | None,
    as_json: bool,
) -> None:
    """Write a report to look at: of a run or model, or of the runs of an experiment compared.

    The page is one file that needs no network and runs no script. It shows the origins and products
    of a run, params, curves, energy, code and environment; for several runs a table and the metric
    against energy, with the Pareto front. The page of a model shows what it came from and what came
    of it, from all documents of the index or of --from. SVG, PNG, DOT and Mermaid are pictures of
    the provenance alone. For RUN see `show`; MODEL is a URI such as models:/NAME@ALIAS, EXPERIMENT
    a name or id; a run that was not captured is converted. Without a file, pages and PNG go to
    report.html and report.png, and other forms are printed.

    \b
    Examples:
      yprov-mlflow report 5f0c9b2e6d3a4b0f8a7c1d2e3f405162 --open
      yprov-mlflow report my-experiment -o compared.html --metric val_loss
      yprov-mlflow report models:/clf@champion -o champion.html
      yprov-mlflow report provenance/prov.json -o picture.svg --level full
    """
    form = form or _SUFFIXES.get(Path(out or "").suffix.lower(), "html")
    if source.startswith(_MODEL):
        content = _of_model(source, form, sources)
    else:
        with documents_of(source, tracking_uri, {}) as documents:
            if form in _PAGES:
                content = _page(documents, source, form, metric, maximize=maximize)
            else:
                content = _picture(documents, source, form, level)
    target = out or _DEFAULT_FILES.get(form)
    if target:
        with console.text_output(as_json=as_json):
            _write(target, content, opens=opens)
        if as_json:
            console.print_json({"written": target, "form": form})
    elif as_json:
        console.print_json({"form": form, "text": content})
    elif isinstance(content, str):
        click.echo(content, nl=not content.endswith("\n"))


def _write(target: str, content: str | bytes, *, opens: bool) -> None:
    path = Path(target)
    try:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise OutputError.unwritable(target, error) from error
    click.echo(f"Written: {target}")
    if opens and not webbrowser.open(path.absolute().as_uri()):
        click.echo(f"No browser can be started here: open {path.absolute()} yourself.", err=True)


def _page(
    documents: Documents, source: str, form: str, metric: str | None, *, maximize: bool
) -> str:
    from yprov_mlflow.prov.report import experiment_report, run_report
    from yprov_mlflow.prov.views import summary

    if len(documents.runs) == 1:
        path, document = documents.runs[0]
        page = run_report.of_document(document, _points(path, document))
        return page.to_html() if form == "html" else page.to_markdown()
    runs = [summary.from_document(document) for _, document in documents.runs]
    title = next((run.run.experiment for run in runs if run.run.experiment), None) or source
    compared = experiment_report.ExperimentReport(runs, title, metric, maximize=maximize)
    return compared.to_html() if form == "html" else compared.to_markdown()


def _points(path: Path, document: Document) -> Iterator[PointBatch]:
    """Yield the points in the files beside a document; those that are not there are left out."""
    from yprov_mlflow.prov.formats.metric_files import read_points
    from yprov_mlflow.prov.translate import side_files

    for name, _ in side_files(document):
        file = path.parent / Path(name).name
        if file.is_file():
            yield from read_points(file)
        else:
            console.note(f"The file of points {name} is not beside the document.")


def _picture(documents: Documents, source: str, form: str, level: str) -> str | bytes:
    from yprov_mlflow.prov.report.prov_picture import picture

    if len(documents.runs) > 1:
        what = f"a picture is of one run, but there are {len(documents.runs)}"
        raise UsageError(what, source, "Name one run, or draw all with `lineage --format dot`")
    return _drawn(picture(documents.runs[0][1], "full" if level == "full" else "summary"), form)


def _drawn(picture: Picture, form: str) -> str | bytes:
    from yprov_mlflow.prov.report import picture_formats

    if form == "png":
        return picture_formats.to_png(picture)
    forms = {
        "svg": picture_formats.to_svg,
        "dot": picture_formats.to_dot,
        "mermaid": picture_formats.to_mermaid,
    }
    return forms[form](picture)


def _of_model(name: str, form: str, sources: tuple[str, ...]) -> str | bytes:
    from yprov_mlflow.prov.report import model_report

    model = model_report.of_model(graph_options.graph_to_ask(sources), name)
    if form in _PAGES:
        return model.to_html() if form == "html" else model.to_markdown()
    return _drawn(model.picture(), form)
