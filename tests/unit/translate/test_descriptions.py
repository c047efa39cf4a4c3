"""Authors, license and title in documents."""

import pytest
from support.builders.run_log import Log

from yprov_mlflow.prov import authorship
from yprov_mlflow.prov.events import FactsCollected, ParamsLogged, RunUpdated
from yprov_mlflow.prov.translate import described, events_of
from yprov_mlflow.prov.validate import validate
from yprov_mlflow.prov.views import summary

ORCID = "orcid:0000-0002-1825-0097"
FACTS = authorship.read(
    {
        "title": "Digits",
        "license": "MIT",
        "keywords": ["a", "b"],
        "project": "Numbers",
        "authors": [
            {
                "name": "Josiah Carberry",
                "orcid": ORCID.partition(":")[2],
                "affiliation": {"name": "University of Trento", "ror": "05trd4x28"},
                "login": "alice",
            },
            {"name": "Ada", "orcid": "12", "login": "bob"},
        ],
    }
)


def log(facts=None):
    events = Log()
    if facts is not None:
        events.add(FactsCollected, "about", facts)
    events.add(ParamsLogged, {"lr": "1"})
    events.add(RunUpdated, "FINISHED", None)
    return events


def attributed(document):
    return {r["prov:agent"] for r in document.records["wasAttributedTo"].values()}


def test_live_documents_state_who_and_what():
    document = log(FACTS).document()
    assert not validate(document)
    record = document.records["entity"]["run:record"]
    assert record["dcterms:title"] == "Digits"
    assert record["dcterms:license"] == {
        "$": "https://spdx.org/licenses/MIT",
        "type": "xsd:anyURI",
    }
    assert record["schema:keywords"] == ["a", "b"]
    assert attributed(document) >= {ORCID, "store:author/Ada"}
    assert document.prefixes["orcid"] == "https://orcid.org/"
    assert document.prefixes["ror"] == "https://ror.org/"
    assert document.records["agent"]["store:author/Ada"]["schema:identifier"] == "12"


def test_logins_are_authors_only_if_the_file_says_so():
    document = log(FACTS).document()
    delegations = [
        (r["prov:delegate"], r["prov:responsible"])
        for r in document.records["actedOnBehalfOf"].values()
    ]
    assert ("store:user/alice", ORCID) in delegations
    # bob did not run anything here.
    assert not any("store:author/Ada" in pair for pair in delegations)
    hashed = log(FACTS).document(hash_user=True)
    assert "alice" not in hashed.to_json_bytes().decode()


@pytest.mark.parametrize("facts", [None, {}])
def test_documents_without_the_table_are_as_before(facts):
    document = log(facts).document()
    assert "orcid" not in document.prefixes
    assert not any(key.startswith("dcterms:t") for key in document.records["entity"]["run:record"])


def test_documents_of_conversions_are_described_like_live_ones():
    plain = log().document()
    before = plain.to_json_bytes()
    document = described(plain, FACTS)
    assert plain.to_json_bytes() == before
    assert (
        summary.from_document(document).about == summary.from_document(log(FACTS).document()).about
    )
    assert not validate(document)
    # A description of its own is not replaced.
    assert described(document, authorship.read({"title": "Other"})) is document
    # MLflow does not hold authors: a restored run is the same.
    assert list(events_of(document)) == list(events_of(plain))


def test_summary():
    run = summary.from_document(log(FACTS).document())
    assert run.run.user == "alice"
    josiah, ada = run.about.authors
    assert (josiah.orcid, josiah.affiliation.ror) == (ORCID.partition(":")[2], "05trd4x28")
    assert (ada.name, ada.orcid) == ("Ada", None)
    assert run.about.license == "https://spdx.org/licenses/MIT"
    assert run.about.project.name == "Numbers"
    (table,) = [t for t in run.tables() if t.title == "About"]
    assert ("keywords", "a, b") in table.rows
    assert summary.from_document(log().document()).about is None
