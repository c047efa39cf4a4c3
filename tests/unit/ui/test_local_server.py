"""The view in the browser: who may open it, what its pages show, and what nobody may do with it."""

import dataclasses
from pathlib import Path

import pytest
from support.builders.run_log import START_S, Log

from yprov_mlflow.prov.events import InputsLogged, ParamsLogged, RunUpdated
from yprov_mlflow.prov.formats import prov_json
from yprov_mlflow.prov.translate import translate
from yprov_mlflow.prov.ui import local_server, shown_runs

TOKEN = "t0ken"
EVIL = "<script>canary()</script>"
DATASET = {"name": "raw", "digest": "d1", "source_type": "local", "source": "raw.csv", "tags": {}}


def write_run(folder: Path, number: int, name: str) -> str:
    log = Log(tags={"mlflow.runName": name})
    log.add(ParamsLogged, {"lr": str(number)})
    log.add(InputsLogged, [DATASET])
    log.metric("loss", 10.0 - number)
    log.add(RunUpdated, "FINISHED", (START_S + 60) * 1000, name)
    run_id = f"{number:032x}"
    events = [dataclasses.replace(event, run_id=run_id) for event in log.events]
    path = folder / run_id / "prov.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(prov_json.dumps(translate(events)))
    return run_id


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prov")
    names = ["first", "second", EVIL, *(f"run {number}" for number in range(4, 121))]
    ids = [write_run(folder, number, name) for number, name in enumerate(names, 1)]
    return shown_runs.of_documents([folder], pytest.fail), ids


@pytest.fixture
def client(runs):
    client = local_server.application(runs[0], TOKEN).test_client()
    assert client.get(f"/?token={TOKEN}").status_code == 302
    return client


def test_only_the_address_with_the_token_opens_it(runs):
    client = local_server.application(runs[0], TOKEN).test_client()
    local = {"headers": {"Host": "127.0.0.1:5100"}}
    assert client.get("/", **local).status_code == 403
    assert client.get("/?token=wrong", **local).status_code == 403
    answer = client.get(f"/?token={TOKEN}", **local)
    assert answer.status_code == 302 and TOKEN not in answer.headers["Location"]
    assert "HttpOnly" in answer.headers["Set-Cookie"]
    assert "SameSite=Strict" in answer.headers["Set-Cookie"]


def test_another_name_of_the_machine_is_refused(runs):
    client = local_server.application(runs[0], TOKEN).test_client()
    answer = client.get(f"/?token={TOKEN}", headers={"Host": "evil.example:5100"})
    assert answer.status_code == 403


def test_runs_are_listed_filtered_and_sorted(client):
    page = client.get("/").text
    assert "120 runs" in page and "page 1 of 2" in page
    assert client.get("/?page=2").text.count('type="checkbox"') == 20
    few = client.get("/?where=metrics.loss < 8&sort=loss&columns=loss,params.lr").text
    assert "118 runs" in few and "loss" in few
    assert "no run has" in client.get("/?sort=nonsense").text
    assert "&lt;script&gt;canary" in client.get("/?where=params.lr = 3").text


def test_a_run_has_its_report_and_document(client, runs):
    page = client.get(f"/runs/{runs[1][0]}/").text
    assert "<h1><bdi>first</bdi>" in page and 'href="prov.json"' in page
    assert client.get(f"/runs/{runs[1][0]}/prov.json").json["activity"]
    assert client.get("/runs/none/").status_code == 404


def test_two_runs_are_compared_and_more_reported(client, runs):
    ids = runs[1]
    page = client.get(f"/compare?run={ids[0]}&run={ids[1]}").text
    assert "What differs" in page and "<bdi>lr</bdi>" in page
    several = client.get(f"/compare?run={ids[0]}&run={ids[1]}&run={ids[2]}").text
    assert "3 FINISHED" in several
    assert client.get(f"/compare?run={ids[0]}").status_code == 400


def test_lineage_leads_on(client, runs):
    page = client.get(f"/lineage?thing=run:{runs[1][0]}").text
    assert "<svg" in page and "raw" in page
    assert f'href="/lineage?thing=run:{runs[1][0]}&amp;direction=up"' in page
    assert client.get("/lineage?thing=nothing-of-the-kind").status_code == 404


def test_questions_in_sparql(client):
    asked = "SELECT (COUNT(?run) AS ?runs) WHERE { ?run a mlf:Run }"
    assert "120" in client.get("/sparql", query_string={"query": asked}).text
    for wrong in ("SELECT nonsense", "INSERT DATA { <a:a> <a:b> <a:c> }"):
        assert client.get("/sparql", query_string={"query": wrong}).status_code == 404


def test_no_page_allows_a_script(client, runs):
    for address in ("/", f"/runs/{runs[1][2]}/", "/lineage", "/sparql", "/none"):
        answer = client.get(address)
        assert "<script" not in answer.text
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src")
        assert "unsafe" not in answer.headers["Content-Security-Policy"]
