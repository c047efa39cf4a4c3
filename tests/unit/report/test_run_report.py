"""Reports of runs: everything is escaped, the page stays small, and runs without data have one."""

import math
import re
from html.parser import HTMLParser

import pytest
from support.builders.run_log import START_S, Log
from support.hostile_names import NAMES

from yprov_mlflow.prov.events import MetricsLogged, ParamsLogged, RunUpdated, TagsSet
from yprov_mlflow.prov.formats.metric_files import SERIES, read_points
from yprov_mlflow.prov.layout import METRICS_PARQUET
from yprov_mlflow.prov.model.document import Document
from yprov_mlflow.prov.report import run_report
from yprov_mlflow.prov.report.experiment_report import ExperimentReport
from yprov_mlflow.prov.report.picture_formats import to_dot, to_mermaid, to_svg
from yprov_mlflow.prov.report.prov_picture import picture
from yprov_mlflow.prov.translate import Options, Translator
from yprov_mlflow.prov.views import summary

TAGS = {
    *("html", "head", "meta", "title", "style", "body", "header", "h1", "h2", "h3", "ul", "li"),
    *("b", "bdi", "span", "p", "nav", "a", "main", "div", "figure", "figcaption", "br", "table"),
    *("thead", "tbody", "tr", "th", "td", "details", "summary", "pre", "footer", "svg", "defs"),
    *("marker", "path", "g", "rect", "polygon", "text", "circle", "line"),
}


class Page(HTMLParser):
    """Collects the elements, attributes and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data


def log_of(text: str) -> Log:
    log = Log(tags={"mlflow.runName": text, text: text})
    log.add(ParamsLogged, {text: text, f"{text} 2": "1"})
    log.add(TagsSet, {f"{text} 3": text})
    for step in range(3):
        log.add(MetricsLogged, [text] * 2, [1.0, 2.0], [1, 2], [step, step + 1], [[text]])
    log.add(RunUpdated, "FINISHED", None, text)
    return log


@pytest.mark.parametrize("text", NAMES)
def test_text_of_users_stays_text(text):
    document = log_of(text).document()
    page = Page(run_report.of_document(document).to_html())
    # SVG's own names: HTML's parser writes them in lower case.
    assert page.tags <= TAGS | {"title"}
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    links = [value for name, value in page.attributes if name in ("href", "src", "xlink:href")]
    assert all(re.fullmatch(r"#[a-z0-9-]+|prov\.json", link) for link in links)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069]", page.text)
    compared = ExperimentReport([summary.from_document(document)] * 2, text, None, maximize=False)
    assert Page(compared.to_html()).tags <= TAGS
    if text == "{{ 7 * 7 }}":
        assert text in page.text and "49" not in page.text


@pytest.mark.parametrize("text", NAMES)
def test_text_of_users_stays_text_in_pictures(text):
    drawn = picture(log_of(text).document())
    assert Page(to_svg(drawn)).tags <= TAGS | {"title"}
    assert len(to_dot(drawn).splitlines()) == 4 + len(drawn.nodes) + len(drawn.arrows)
    assert len(to_mermaid(drawn).splitlines()) == 4 + len(drawn.nodes) + len(drawn.arrows)


def test_the_page_allows_neither_scripts_nor_the_network():
    page = run_report.of_document(log_of("x").document()).to_html()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert policy[1].startswith("default-src &#39;none&#39;; style-src &#39;sha256-")
    assert "unsafe" not in policy[1] and "<script" not in page and "http://www.w3.org/2000" in page
    assert "style=" not in page  # the policy would forbid it


def test_a_run_with_ten_thousand_params_says_what_it_leaves_out():
    log = Log()
    log.add(ParamsLogged, {f"param {number:05}": "v" * 100 for number in range(10_000)})
    page = run_report.of_document(log.document()).to_html()
    assert "param 00299" in page and "param 00300" not in page
    assert "and 9700 more, which prov.json has" in page
    assert len(page) < 300_000


def test_a_run_with_many_metrics_stays_small():
    log = Log()
    for step in range(40):
        keys = [f"metric {number}" for number in range(100)]
        values = [math.sin(step * number) for number in range(100)]
        log.add(MetricsLogged, keys, values, [step] * 100, [step] * 100)
    page = run_report.of_document(log.document(max_samples=10_000)).to_html()
    assert "and 64 more metrics" in page and len(page) < 300_000


def test_documents_without_a_run_have_a_report():
    for document in (Document(), Log().document()):
        report = run_report.of_document(document)
        assert "<h1>" in report.to_html() and report.to_markdown().startswith("# ")


def test_points_of_files_make_curves(tmp_path):
    log = Log()
    for step in range(6):
        log.add(MetricsLogged, ["loss"], [1.0 / (1 + step)], [step], [step], [["training", step]])
    translator = Translator(Options(max_samples=2), SERIES["parquet"].sink(tmp_path))
    for event in log.events:
        translator.feed(event)
    document = translator.finish()
    with_points = run_report.of_document(document, read_points(tmp_path / METRICS_PARQUET))
    assert list(with_points.lines.values()) == [[(float(s), 1 / (1 + s)) for s in range(6)]]
    assert 'aria-label="loss"' in with_points.to_html()
    assert 'aria-label="loss"' not in run_report.of_document(document).to_html()


def test_the_front_of_an_experiment_has_runs_that_no_other_betters():
    runs = []
    for number, (loss, seconds) in enumerate([(3, 11), (2, 12), (2.5, 13), (1, 14)]):
        log = Log(tags={"mlflow.runName": f"run {number}"})
        log.metric("val_loss", loss)
        log.add(RunUpdated, "FINISHED", (START_S + seconds) * 1000, None)
        runs.append(summary.from_document(log.document()))
    report = ExperimentReport(runs, "sweep", None, maximize=False)
    assert report.metric == "val_loss"
    assert "Pareto front: 3" in report.to_html()
    upward = ExperimentReport(runs, "sweep", None, maximize=True)
    assert "Pareto front: 1" in upward.to_html()
