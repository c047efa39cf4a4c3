"""Reports in a real browser: no text of a user runs as a script, and nothing is loaded."""

from pathlib import Path

from support.browser import open_page
from support.builders.run_log import Log

from yprov_mlflow.prov.events import MetricsLogged, ParamsLogged
from yprov_mlflow.prov.report import run_report

CANARY = "document.title = 'canary'"
PAYLOADS = (
    f"<script>{CANARY}</script>",
    f'<img src=x onerror="{CANARY}">',
    f"</style></title></svg><script>{CANARY}</script>",
    f'"><svg onload="{CANARY}">',
    f'<iframe srcdoc="<script>parent.{CANARY}</script>">',
    f'<a href="javascript:{CANARY}" autofocus onfocus="{CANARY}">',
    f'<details open ontoggle="{CANARY}">',
    f"<style>@import 'http://127.0.0.1:1/'</style><body onload=\"{CANARY}\">",
)


def page_of(folder: Path) -> Path:
    log = Log(tags={"mlflow.runName": PAYLOADS[0]})
    for number, payload in enumerate(PAYLOADS):
        log.add(ParamsLogged, {payload: payload})
        log.add(MetricsLogged, [payload] * 2, [1.0, 2.0], [1, 2], [0, number + 1], [[payload]])
    page = folder / "report.html"
    page.write_text(run_report.of_document(log.document()).to_html(), "utf-8")
    return page


def test_nothing_of_a_user_is_executed(tmp_path: Path) -> None:
    opened = open_page(page_of(tmp_path), tmp_path)
    assert "<title>canary</title>" not in opened.dom and "canary" in opened.dom
    assert opened.console == []


def test_the_policy_holds_where_escaping_fails(tmp_path: Path) -> None:
    page = page_of(tmp_path)
    injected = page.read_text("utf-8").replace("<main>", f"<main>{''.join(PAYLOADS)}")
    page.write_text(injected, "utf-8")
    opened = open_page(page, tmp_path)
    assert "<title>canary</title>" not in opened.dom
    assert any("Content Security Policy" in line for line in opened.console)
    # Without the policy, the same page runs them: the payloads are real.
    page.write_text(injected.replace("Content-Security-Policy", "none"), "utf-8")
    assert "<title>canary</title>" in open_page(page, tmp_path).dom
