import json
import shutil

import pytest


@pytest.fixture
def journals(captured, tmp_path):
    """Copy the journals of a finished and a killed run; return how to run a command on them."""
    workspace, finished, killed = captured
    shutil.copytree(workspace.folder / "state", tmp_path / "state")
    env = {"YPROV_MLFLOW_DIR": str(tmp_path / "state")}
    return (lambda *arguments: workspace.command(*arguments, **env)), finished, killed


def test_list_pack_and_prune(journals, tmp_path):
    command, finished, killed = journals
    rows = {row["run_id"]: row for row in json.loads(command("journals", "--json").stdout)}
    states = {run_id: (row["state"], row["packed"]) for run_id, row in rows.items()}
    assert states[finished] == ("delivered", False) and states[killed] == ("open", False)
    assert rows[finished]["sessions"] == 1 and rows[finished]["files"] >= 3

    assert command("journals", "pack").stdout.startswith("packed 0 runs")  # it is too new
    packed = command("journals", "pack", "--days", "0")
    assert packed.stdout.startswith("packed 1 runs"), packed.stderr
    assert not (tmp_path / "state" / "journal" / finished).exists()
    lines = command("recover", "--run", finished, "--again", "--json").stdout
    (outcome,) = json.loads(lines)  # made from the packed journal
    assert (outcome["state"], outcome["reason"], outcome["events"] > 5) == ("written", "", True)

    options = ("journals", "prune", "--days", "0")
    listed = command(*options)
    assert f"would prune  {finished}" in listed.stdout and killed not in listed.stdout
    assert command(*options, "--sealed").stdout.startswith("0 runs")
    assert json.loads(command(*options, "--yes", "--json").stdout)["runs"] == [finished]
    remaining = json.loads(command("journals", "--json").stdout)
    assert finished not in {row["run_id"] for row in remaining}
    assert killed in {row["run_id"] for row in remaining}
