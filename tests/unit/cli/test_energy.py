"""The command ``energy``: tables, JSON and exit codes."""

import json

import pytest
from click.testing import CliRunner
from support.builders.energy_documents import (
    NO_RAPL,
    document,
    facts,
    run_of_a_node_and_a_process,
    run_of_two_ranks,
)

from yprov_mlflow.prov.cli import main
from yprov_mlflow.prov.translate import translate
from yprov_mlflow.prov.views import energy as energy_view


def energy(path, *arguments):
    return CliRunner().invoke(main, ["energy", str(path), *arguments], env={"COLUMNS": "160"})


@pytest.fixture
def written(tmp_path):
    def write(records):
        path = tmp_path / "prov.json"
        path.write_text(json.dumps(records))
        return path

    return write


def test_json_equals_the_view(written):
    shown = energy(written(document()), "--json")
    assert shown.exit_code == 0
    assert json.loads(shown.output) == energy_view.from_document(document()).to_dict()


def test_tables(written):
    shown = energy(written(document()))
    assert shown.exit_code == 0
    for text in (
        "node-a, rank 0",
        "gpu0, Card 9",
        "7.2 MJ",
        "310.5, 402",
        "measured, device",
        "training/epoch 0",
        "energy, cpu     not measured",
        "Whole devices, during the run, used by anyone",
        "10.8 MJ = 3 kWh, estimated, device",
        "843 g CO2e at 281 g/kWh (codecarbon 3.0, ITA)",
        "M unknown",
        f"cpu: not measured: {NO_RAPL['unavailable']}.",
        f"{NO_RAPL['cure']}.",
        "nvidia, energy of gpu1: not measured: no counter.",
    ):
        assert text in shown.output, text


def test_power_without_energy_is_not_shown_as_zero(written):
    records = document()
    for identifier in [key for key in records["entity"] if "energy" in key]:
        del records["entity"][identifier]
    del records["entity"]["run:emissions/total"]
    shown = energy(written(records))
    assert shown.exit_code == 0
    assert "energy, sum     not measured" in shown.output
    assert "unknown: energy not measured" in shown.output
    assert "0 J" not in shown.output


def test_energy_without_emissions_names_the_setting(written):
    records = document()
    del records["entity"]["run:emissions/total"]
    assert "YPROV_MLFLOW_COUNTRY" in energy(written(records)).output


def test_document_without_measurements_exits_with_3(written):
    path = written({"prefix": {}, "entity": {"store:facts/cpu/1": facts("cpu", NO_RAPL)}})
    shown = energy(path)
    assert shown.exit_code == 3
    assert "Nothing was measured: the document contains no measurements" in shown.output
    assert NO_RAPL["cure"] in shown.output
    shown = energy(path, "--json")
    assert (shown.exit_code, json.loads(shown.output)["measured"]) == (3, False)


def test_tables_of_several_ranks(written):
    shown = energy(written(translate(run_of_two_ranks()).to_json_object())).output
    assert "training (rank 1)" in shown
    assert "Whole devices, during the run, used by anyone" in shown
    assert "801 J = 0.000222 kWh, measured, device" in shown


def test_what_must_not_be_added_is_said(written):
    records = translate(run_of_a_node_and_a_process(world_size=64, runs=("r2",))).to_json_object()
    shown = " ".join(energy(written(records)).output.split())
    for text in (
        "Whole node, during the run, used by anyone energy, cpu 80 J",
        "This run's own share (process), part of the above energy, cpu 5 J",
        "energy, sum 5 J = 1.39e-06 kWh, estimated, process",
        "difference 75 J: other processes and runs",
        "Runs measured on the same node at the same time: 1 (r2).",
        "do not add them up. Own shares can be added.",
        "63 of 64 ranks logged nothing to this run",
        "Not counted: memory: none of its energy counters was read.",
        "Not counted: idle power of processors",
        "Not counted: codecarbon's total (270 J): its own account of the same hardware, 3.38"
        " times the sum, which contains 200 J that it assumes for memory: do not add it.",
    ):
        assert text in shown, text
