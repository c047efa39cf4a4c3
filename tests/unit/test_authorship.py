"""The table of the project file about authors and work."""

import pytest

from yprov_mlflow.prov import authorship, settings
from yprov_mlflow.prov.errors import SettingsError

TABLE = {
    "title": "Digits",
    "description": "Learns digits.",
    "keywords": "digits, MLP",
    "license": "apache-2.0",
    "project": {"name": "Numbers", "url": "https://numbers.example.org", "funding": "EU 101093054"},
    "authors": [
        {
            "name": "Josiah Carberry",
            "orcid": "https://orcid.org/0000-0002-1825-0097",
            "affiliation": {"name": "University of Trento", "ror": "https://ror.org/05trd4x28"},
        },
        "Ada Lovelace",
    ],
}


def test_values_have_one_form():
    facts = authorship.read(TABLE)
    assert facts["keywords"] == ["digits", "MLP"]
    assert facts["license"] == "Apache-2.0"
    josiah, ada = facts["authors"]
    assert josiah["orcid"] == authorship.orcid_id(josiah) == "0000-0002-1825-0097"
    assert josiah["affiliation"] == {"name": "University of Trento", "ror": "05trd4x28"}
    assert ada == {"name": "Ada Lovelace"}
    assert "problems" not in facts
    assert authorship.read({}) == {}


@pytest.mark.parametrize(
    ("license_", "url"),
    [
        ("MIT", "https://spdx.org/licenses/MIT"),
        ("https://example.org/terms", "https://example.org/terms"),
        ("MIT OR Apache-2.0", None),
    ],
)
def test_known_licenses(license_, url):
    facts = authorship.read({"license": license_})
    assert facts == {"license": license_}
    assert authorship.license_url(license_) == url


@pytest.mark.parametrize(
    ("table", "kept", "cure"),
    [
        ({"license": "Do what you want"}, "Do what you want", "such as Apache-2.0, or a URL"),
        (
            {"authors": [{"name": "A", "orcid": "0000-0002-1825-0098"}]},
            "0000-0002-1825-0098",
            "https://orcid.org",
        ),
        (
            {"authors": [{"name": "A", "affiliation": {"name": "B", "ror": "05trd4x2"}}]},
            "05trd4x2",
            "https://ror.org",
        ),
        ({"project": {"name": "P", "url": "numbers"}}, "numbers", "https://"),
    ],
    ids=["license", "orcid", "ror", "url"],
)
def test_wrong_values_are_kept_as_text_and_listed(table, kept, cure):
    facts = authorship.read(table)
    (problem,) = facts.pop("problems")
    assert kept in problem
    assert cure in problem
    assert kept in repr(facts)
    assert authorship.license_url(facts.get("license")) is None
    assert [authorship.orcid_id(author) for author in facts.get("authors", ())] in ([], [None])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"autors": ["A"]}, "unknown field 'autors'.*authors"),
        ({"authors": [{"orcid": "0000-0002-1825-0097"}]}, "the name is missing"),
        ({"title": 3}, "expected a text, not 3"),
        ("absent.toml", "cannot be read"),
    ],
    ids=["unknown", "no name", "number", "file"],
)
def test_malformed_tables_are_errors(table, message):
    with pytest.raises(SettingsError, match=message):
        authorship.read(table)


def test_settings_read_the_table_or_another_file(monkeypatch, tmp_path):
    text = '[tool.yprov-mlflow.about]\ntitle = "{}"\n'
    (tmp_path / "yprov-mlflow.toml").write_text(text.format("here"))
    (tmp_path / "other.toml").write_text(text.format("there"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("YPROV_MLFLOW_ABOUT", raising=False)
    assert settings.load().about == {"title": "here"}
    monkeypatch.setenv("YPROV_MLFLOW_ABOUT", "other.toml")
    assert settings.load().about == {"title": "there"}
    (tmp_path / "yprov-mlflow.toml").write_text('[tool.yprov-mlflow]\nabout = {titel = "x"}\n')
    monkeypatch.delenv("YPROV_MLFLOW_ABOUT")
    with pytest.raises(SettingsError, match="'titel'"):
        settings.load()


def test_secrets_are_withheld():
    facts = authorship.read({"project": {"name": "P", "url": "https://u:pass@example.org/p"}})
    assert "pass" not in repr(facts)
