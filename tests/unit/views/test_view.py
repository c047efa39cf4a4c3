"""Views in notebooks: HTML tables, without any unescaped text of the document."""

import re

import pytest
from support.builders.energy_documents import document

from yprov_mlflow.prov.views import energy, summary
from yprov_mlflow.prov.views.view import Table, _html, cell_text

HOSTILE = "<script>alert(\"x\")</script><img src=x onerror='alert(1)'>&"


def without_style(html):
    return re.sub(r' style="[^"]*"', "", html)


def tags(html):
    return set(re.findall(r"</?([a-z]+)[^>]*>", html))


def test_energy_report_is_shown_as_tables():
    html = without_style(energy.from_document(document())._repr_html_())
    assert tags(html) == {"table", "caption", "b", "tr", "th", "td", "p"}
    assert "<caption><b>Devices</b></caption>" in html
    assert "<td>7.2 MJ</td>" in html
    assert "<td>10.8 MJ = 3 kWh, estimated, device</td>" in html


def replaced(value):
    """Return a JSON value with hostile text in the place of every label and id."""
    if isinstance(value, dict):
        return {key: replaced(item) for key, item in value.items()}
    if isinstance(value, list):
        return [replaced(item) for item in value]
    if isinstance(value, str) and not re.match(r"(mlf|run|store|unit|qudt|sosa|xsd):|\d|\[", value):
        return value + HOSTILE
    return value


@pytest.mark.parametrize("view", [energy, summary])
def test_hostile_text_is_escaped(view):
    records = document()
    records["entity"]["run:param/p"] = {
        "prov:type": "mlf:Param",
        "schema:name": f"lr{HOSTILE}",
        "prov:value": HOSTILE,
    }
    records["activity"]["run:run"]["prov:label"] = HOSTILE
    records = replaced(records)
    html = view.from_document(records)._repr_html_()
    assert tags(html) <= {"table", "caption", "b", "tr", "th", "td", "p"}
    assert "&lt;script&gt;" in html
    assert not re.search(r"<(script|img)", html)
    assert "onerror='" not in html


def test_titles_and_columns_are_escaped():
    html = _html(Table("<b>", ("<i>",), [("<u>",)]))
    assert tags(html) == {"table", "caption", "b", "tr", "th", "td"}


def test_nested_views_are_shown_as_names_and_values():
    html = without_style(energy.from_document(document()).total._repr_html_())
    assert "<tr><td>energy_j</td><td>1.08e+07</td></tr>" in html


@pytest.mark.parametrize(
    ("cell", "text"), [(None, ""), (0.1234567, "0.123457"), (3, "3"), (True, "True"), ("a", "a")]
)
def test_cell_text(cell, text):
    assert cell_text(cell) == text
