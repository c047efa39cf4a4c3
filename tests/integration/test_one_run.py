"""With one run for all ranks, ranks, restarts and later programs get the run that is theirs."""

from __future__ import annotations

from integration.conftest import Sandbox

SCRIPT = """
import json, mlflow
with mlflow.start_run() as run:
    mlflow.log_metric("loss", 1)
print(json.dumps(run.info.run_id))
"""


def test_ranks_share_a_run_and_other_programs_do_not(sandbox: Sandbox) -> None:
    def run(rank: int, **env: str) -> str:
        step = {
            "YPROV_MLFLOW_RANKS": "one-run",
            "SLURM_JOB_ID": "17",
            "SLURM_STEP_ID": "0",
            "SLURM_STEP_NUM_TASKS": "2",
            "SLURM_PROCID": str(rank),
        }
        return str(sandbox.train(SCRIPT, f"yprov+{sandbox.sqlite}", **{**step, **env}).json)

    first = run(0)
    assert run(1) == first
    document = sandbox.document(first)
    assert document.status == "FINISHED"
    assert sorted(document.sessions) == ["run:session/1", "run:session/1.r1"]
    # The next program of the same step is another run, for both ranks.
    second = run(1)
    assert second != first
    assert run(0) == second
    # A job that is queued again goes on with its runs, in their order.
    assert run(0, SLURM_RESTART_COUNT="1") == first
    assert run(0, SLURM_RESTART_COUNT="1") == second
    assert len(sandbox.document(first).sessions) == 3
    assert run(0, SLURM_JOB_ID="18") not in (first, second)
    assert run(0, YPROV_MLFLOW_RANKS="own") not in (first, second)
