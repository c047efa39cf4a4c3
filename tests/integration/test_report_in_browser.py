"""Pages in a real browser: no text of a user is executed, nothing is loaded, all is reached."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.browser import Browser, Page, browser
from support.hostile_names import NAMES, run_of

from yprov_mlflow.prov.formats import prov_json
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.report import run_report
from yprov_mlflow.prov.report.experiment_report import ExperimentReport
from yprov_mlflow.prov.translate import translate
from yprov_mlflow.prov.ui import local_server, shown_runs
from yprov_mlflow.prov.views import summary

_NAMED = """[...document.querySelectorAll('input,select,textarea')].every(e => e.labels.length
    || e.ariaLabel) && !document.querySelector('a:empty,button:empty,html:not([lang])')"""


@pytest.fixture(scope="module")
def running() -> Iterator[Browser]:
    with browser() as started:
        yield started


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    return [translate(run_of(number, name)) for number, name in enumerate(NAMES, 1)]


def check(page: Page, root: str) -> None:
    assert page.run("document.title") != "canary"
    assert [url for url in page.requests if not url.startswith(root)] == []
    assert page.console == []
    assert page.run(_NAMED)
    assert page.run("document.documentElement.scrollWidth") <= page.run("innerWidth") + 1


def test_nothing_of_a_user_is_executed_in_reports(
    running: Browser, documents: list[Document], tmp_path: Path
) -> None:
    pages = [run_report.of_document(document).to_html() for document in documents]
    runs = [summary.from_document(document) for document in documents]
    pages.append(ExperimentReport(runs, NAMES[0], NAMES[0], maximize=False).to_html())
    file = tmp_path / "report.html"
    page = running.open("about:blank", width=420)
    for text in pages:
        file.write_text(text, "utf-8")
        page.requests.clear()
        page.go(file.as_uri())
        check(page, file.as_uri())
    assert page.unreachable() == []


def test_nothing_of_a_user_is_executed_in_the_view(
    running: Browser, documents: list[Document], tmp_path: Path
) -> None:
    for number, document in enumerate(documents):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "prov.json").write_bytes(prov_json.dumps(document))
    catalog = shown_runs.of_documents([tmp_path], pytest.fail)
    server, address = local_server.serve(catalog, local_server.LOCAL, 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        root = address.partition("?")[0]
        page = running.open(address, width=420)
        check(page, root)
        assert page.run("document.querySelectorAll('tbody tr').length") == len(NAMES)
        assert page.unreachable() == []
        first, second, third = (f"{number:032x}" for number in (1, 16, 18))
        for path in (
            f"runs/{first}/",
            f"compare?run={first}&run={second}",
            f"compare?run={first}&run={second}&run={third}",
            f"lineage?thing=run:{second}&direction=down",
            "sparql?query=SELECT ?name WHERE { ?run rdfs:label ?name }",
        ):
            page.go(root + path)
            check(page, root)
        page.console.clear()
        page.go(f"{root}lineage?thing={NAMES[0]}")  # an error that names it
        assert page.run("document.title") != "canary"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_the_policy_holds_where_escaping_fails(
    running: Browser, documents: list[Document], tmp_path: Path
) -> None:
    text = run_report.of_document(documents[-1]).to_html()
    file = tmp_path / "report.html"
    file.write_text(text.replace("<main>", f"<main>{''.join(NAMES[:32])}"), "utf-8")
    page = running.open(file.as_uri())
    assert page.run("document.title") != "canary"
    assert any("Content Security Policy" in line for line in page.console)
    # Without the policy, the same page runs them: the names are real attacks.
    file.write_text(file.read_text("utf-8").replace("Content-Security-Policy", "none"), "utf-8")
    page.go(file.as_uri())
    page.wait_for("document.title == 'canary'")
