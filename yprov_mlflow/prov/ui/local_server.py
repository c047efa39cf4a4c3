"""A web server for one user of this machine: pages without scripts, and a token to open them."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Sequence
from typing import Any

import flask
from werkzeug.exceptions import HTTPException
from werkzeug.serving import BaseWSGIServer, make_server

from yprov_mlflow.prov.errors import YprovMlflowError
from yprov_mlflow.prov.graph.run_table import Question
from yprov_mlflow.prov.report import pages
from yprov_mlflow.prov.report.experiment_report import ExperimentReport
from yprov_mlflow.prov.report.lineage_picture import left_out, names_of, picture_of
from yprov_mlflow.prov.report.pages import markup, page_table
from yprov_mlflow.prov.report.picture_formats import to_svg
from yprov_mlflow.prov.ui.shown_runs import Catalog
from yprov_mlflow.prov.views.view import Table, visible

LOCAL = "127.0.0.1"
_LINKS = (("Runs", "/"), ("Lineage", "/lineage"), ("SPARQL", "/sparql"))
_COOKIE = "yprov-token"
_ROWS = 100  # of a page
_MOST_COMPARED = 200
_MOST_ROWS = 1000  # of an answer in SPARQL


def serve(catalog: Catalog, host: str, port: int) -> tuple[BaseWSGIServer, str]:
    """Return a server that listens, and the address to open.

    Raises:
        OSError: The port cannot be had.
    """
    token = secrets.token_urlsafe(16)
    app = application(catalog, token, None if host == LOCAL else host)
    server = make_server(host, port, app, threaded=True)
    return server, f"http://{host}:{server.server_port}/?token={token}"


def application(catalog: Catalog, token: str, host: str | None = None) -> flask.Flask:
    """Return the application.

    Args:
        catalog: The runs to show.
        token: Has to be in the first address that a browser opens; a cookie keeps it.
        host: Another name than the local ones that this machine is asked by.
    """
    app = flask.Flask(__name__, static_folder=None)
    names = {LOCAL, "localhost", host}

    @app.before_request
    def check() -> Any:
        """Reject requests without the token, or with another name of the machine."""
        # A page of another site could lead its own name here, so that a browser asks for it.
        if flask.request.host.rsplit(":", 1)[0] not in names:
            flask.abort(403, "This name of the machine is not allowed.")
        sent = flask.request.args.get("token", "")
        if hmac.compare_digest(sent.encode(), token.encode()):
            # The address without the token is the one in the history of the browser.
            response = flask.redirect(flask.request.path)
            response.set_cookie(_COOKIE, token, httponly=True, samesite="Strict")
            return response
        if not hmac.compare_digest(flask.request.cookies.get(_COOKIE, "").encode(), token.encode()):
            flask.abort(403, "Open the address that the command printed: it has a token.")
        return None

    @app.after_request
    def protect(response: flask.Response) -> flask.Response:
        response.headers["Content-Security-Policy"] = pages.policy(forms=True)
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "same-origin"
        response.headers["Cache-Control"] = "no-store"
        return response

    @app.errorhandler(YprovMlflowError)
    def refuse(error: YprovMlflowError) -> tuple[str, int]:
        return _page("problem.html", title="Not found", message=visible(str(error), 2000)), 404

    @app.errorhandler(HTTPException)
    def fail(error: HTTPException) -> tuple[str, int]:
        message = visible(str(error.description), 500)
        return _page("problem.html", title=str(error.name), message=message), error.code or 500

    for rule, view in _VIEWS.items():
        app.add_url_rule(rule, view.__name__, _bind(view, catalog))
    return app


def _bind(view: Callable[..., Any], catalog: Catalog) -> Callable[..., Any]:
    return lambda **arguments: view(catalog, **arguments)


def _page(template: str, **values: Any) -> str:
    return pages.render(template, forms=True, links=_LINKS, **values)


# -- views ---------------------------------------------------------------------------------


def runs(catalog: Catalog) -> str:
    """Return a page of the table of runs."""
    asked = flask.request.args
    question = Question(
        where=asked.get("where", ""),
        sort=asked.get("sort", ""),
        experiment=asked.get("experiment", ""),
        columns=[name.strip() for name in asked.get("columns", "").split(",") if name.strip()],
    )
    table = catalog.runs(question)
    pages_count = max(1, -(-len(table) // _ROWS))
    number = min(max(1, asked.get("page", 1, int)), pages_count)
    rows = table.rows[(number - 1) * _ROWS : number * _ROWS]
    columns = [column for column in table.columns if column not in ("name", "run_id")]
    return _page(
        "runs.html",
        title="Runs",
        count=len(table),
        question={key: asked.get(key, "") for key in ("where", "sort", "columns", "experiment")},
        columns=columns,
        rows=[
            {
                "id": row["run_id"],
                "name": visible(str(row["name"] or row["run_id"]), 80),
                "cells": page_table(Table("", (), [[row[name] for name in columns]])).rows[0],
            }
            for row in rows
        ],
        number=number,
        pages=pages_count,
        address=lambda **changes: flask.url_for("runs", **{**asked.to_dict(), **changes}),
    )


def run(catalog: Catalog, run_id: str) -> str:
    """Return the report of a run."""
    lineage = flask.url_for("lineage", thing=f"run:{run_id}")
    links = [(label, lineage if label == "Lineage" else page) for label, page in _LINKS]
    return catalog.report(run_id).to_html(links)


def document(catalog: Catalog, run_id: str) -> flask.Response:
    """Return the document of a run."""
    return flask.Response(catalog.document(run_id), mimetype="application/json")


def compare(catalog: Catalog) -> str:
    """Return two runs compared, or a report of more."""
    # Each run costs the reading of a document.
    chosen = flask.request.args.getlist("run")[:_MOST_COMPARED]
    if len(chosen) < 2:
        flask.abort(400, "Choose two runs or more to compare them.")
    if len(chosen) > 2:
        metric = flask.request.args.get("metric") or None
        summaries = [catalog.summary(run_id) for run_id in chosen]
        return ExperimentReport(summaries, "Runs", metric, maximize=False).to_html(_LINKS)
    comparison = catalog.compare(*chosen)
    names = [visible(run.label, 60) for run in comparison.runs]
    rows = [(d.part, d.name, d.left or "-", d.right or "-") for d in comparison.differences]
    equal = [(part, ", ".join(names)) for part, names in comparison.equal.items() if names]
    tables = [
        page_table(Table("What differs", ("part", "name", *names), rows)),
        page_table(Table("What is equal", ("part", "names"), equal)),
    ]
    return _page("tables.html", title=" and ".join(names), tables=tables)


def lineage(catalog: Catalog) -> str:
    """Return the lineage of a thing as a picture whose nodes lead on."""
    thing = flask.request.args.get("thing", "").strip()
    direction = "down" if flask.request.args.get("direction") == "down" else "up"
    picture: Any = ""
    more = 0
    if thing:
        report = catalog.lineage(thing, "down" if direction == "down" else "up")
        more = left_out(report)
        links = {
            name: flask.url_for("lineage", thing=target, direction=direction)
            for name, target in names_of(report).items()
        }
        drawn = picture_of(report)
        picture = markup(to_svg(drawn, f"Lineage of {visible(thing, 80)}", links))
    values = {"thing": thing, "direction": direction, "picture": picture, "left_out": more}
    return _page("lineage.html", title="Lineage", **values)


def question(catalog: Catalog) -> str:
    """Return the answer to a question in SPARQL."""
    sparql = flask.request.args.get("query", "").strip()
    tables = []
    if sparql:
        answer = catalog.ask(sparql)
        rows: Sequence[Sequence[object]] = answer.rows[:_MOST_ROWS]
        tables = [page_table(Table(f"{len(answer.rows)} rows", answer.columns, rows))]
    return _page("question.html", title="SPARQL", query=sparql, tables=tables)


_VIEWS: dict[str, Callable[..., Any]] = {
    "/": runs,
    "/runs/<run_id>/": run,
    "/runs/<run_id>/prov.json": document,
    "/compare": compare,
    "/lineage": lineage,
    "/sparql": question,
}
