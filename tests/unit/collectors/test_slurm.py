import time

import pytest

from yprov_mlflow.prov.collectors import slurm
from yprov_mlflow.prov.collectors.base import CollectorContext, Unavailable

JOB = {
    "SLURM_JOB_ID": "4711",
    "SLURM_JOB_NAME": "train",
    "SLURM_JOB_PARTITION": "gpu",
    "SLURM_JOB_NODELIST": "node[07-08]",
    "SLURM_JOB_NUM_NODES": "2",
    "SLURM_NTASKS": "8",
    "SLURM_TASKS_PER_NODE": "4(x2)",
    "SLURM_CPUS_PER_TASK": "6",
    "SLURM_MEM_PER_NODE": "128000",
    "SLURM_GPUS_ON_NODE": "4",
    "SLURM_JOB_GPUS": "0,1,2,3",
}
STEP = {**JOB, "SLURM_STEP_ID": "0", "SLURM_STEP_TASKS_PER_NODE": "2(x2)"}
RAPL = "Configuration data\nAcctGatherEnergyType    = acct_gather_energy/rapl\nOther = 1\n"


class Site:
    """A folder with fake SLURM commands."""

    def __init__(self, folder):
        self.folder = folder
        self.now_s = 1000.0

    def command(self, name, output, script=""):
        (self.folder / f"{name}.out").write_text(output)
        path = self.folder / name
        path.write_text(
            f'#!/bin/sh\necho "$@" >> {self.folder}/{name}.asked\n{script}\n'
            f"exec /bin/cat {self.folder}/{name}.out\n"
        )
        path.chmod(0o755)

    def asked(self, name):
        path = self.folder / f"{name}.asked"
        return path.read_text().splitlines() if path.exists() else []

    def collector(self, environ=STEP):
        return slurm.Slurm(CollectorContext(environ={**environ, "PATH": str(self.folder)}))


@pytest.fixture
def site(tmp_path, monkeypatch):
    site = Site(tmp_path)
    monkeypatch.setattr(slurm.time, "monotonic", lambda: site.now_s)
    return site


def answered(collector):
    """Sample once the command has ended."""
    collector._query.wait(30)
    return collector.sample()


def test_no_job(site):
    assert site.collector({}).probe() == Unavailable("not in a SLURM job")


def test_facts():
    assert slurm.collect(JOB) == {
        "job_id": "4711",
        "name": "train",
        "partition": "gpu",
        "node_list": "node[07-08]",
        "nodes": 2,
        "tasks": 8,
        "tasks_per_node": "4(x2)",
        "cpus_per_task": 6,
        "memory_per_node_mb": 128000,
        "gpus_on_node": 4,
        "gpu_ids_on_node": "0,1,2,3",
    }


def test_facts_of_a_step_in_an_array():
    facts = slurm.collect({**STEP, "SLURM_ARRAY_JOB_ID": "4700", "SLURM_ARRAY_TASK_ID": "11"})
    assert (facts["step"], facts["tasks_per_node"]) == ("0", "2(x2)")
    assert (facts["array_job_id"], facts["array_task_id"]) == ("4700", 11)


@pytest.mark.parametrize(("number", "step"), [("4294967290", "interactive"), ("7", "7")])
def test_step_names(site, number, step):
    site.command("sstat", "5000\n")
    collector = site.collector({**JOB, "SLURM_STEP_ID": number})
    assert collector.probe().facts["step"] == step
    assert f"--jobs=4711.{step}" in site.asked("sstat")[0].split()


def test_energy_of_the_step(site):
    site.command("scontrol", RAPL)
    site.command("sstat", "5000\n")
    collector = site.collector()
    available = collector.probe()
    assert available.facts["step"] == "0"
    (energy,) = available.quantities
    assert (energy.name, energy.unit, energy.scope, energy.method) == (
        "energy",
        "J",
        "job",
        "measured",
    )
    assert (energy.component, energy.claim, energy.cumulative) == ("", "job", True)
    assert "sstat" in available.procedure
    assert "rapl" in available.procedure
    assert "--jobs=4711.0" in site.asked("sstat")[0].split()
    collector.start()
    assert answered(collector) == (0.0,)
    site.command("sstat", "7500\n")
    site.now_s += 59
    assert collector.sample() == (None,)  # asked once a minute
    assert len(site.asked("sstat")) == 2
    site.now_s += 1
    assert collector.sample() == (None,)  # asking takes its time
    assert answered(collector) == (2500.0,)
    assert collector.sample() == (None,)
    site.command("sstat", "7400\n")
    site.now_s += 60
    collector.sample()
    assert answered(collector) == (2500.0,)  # a total does not fall
    collector.stop()
    collector.start()
    assert answered(collector) == (0.0,)


@pytest.mark.parametrize(("rank", "asks"), [("0", True), ("5", False)])
def test_only_first_rank_queries_slurm(site, rank, asks):
    site.command("scontrol", RAPL)
    site.command("sstat", "5000\n")
    available = site.collector({**STEP, "SLURM_PROCID": rank}).probe()
    assert available.facts["job_id"] == "4711"
    assert len(available.quantities) == asks
    assert bool(site.asked("scontrol") + site.asked("sstat")) == asks


def test_batch_script_step(site):
    site.command("sstat", "5000\n")
    collector = site.collector(JOB)
    assert "4711.batch" in collector.probe().procedure


def test_energy_not_gathered_yet_is_none(site):
    site.command("scontrol", RAPL)
    site.command("sstat", "0\n")
    collector = site.collector()
    assert len(collector.probe().quantities) == 1
    collector.start()
    assert answered(collector) == (None,)
    site.command("sstat", "400\n")
    site.now_s += 60
    collector.sample()
    assert answered(collector) == (400.0,)


@pytest.mark.parametrize("kind", ["acct_gather_energy/none", "(null)"])
def test_site_without_energy_gathering(site, kind):
    site.command("scontrol", f"AcctGatherEnergyType    = {kind}\n")
    site.command("sstat", "0\n")
    available = site.collector().probe()
    assert available.quantities == ()
    (missing,) = available.missing
    assert missing.what == "energy"
    assert "AcctGatherEnergyType=none" in missing.reason
    assert site.asked("sstat") == []


@pytest.mark.parametrize("output", ["", "0\n", "18446744073709551614\n", "error: denied\n"])
def test_invalid_energy_answers(site, output):
    site.command("sstat", output)
    site.command("sacct", output)
    available = site.collector().probe()
    assert available.quantities == ()
    assert available.missing[0].reason == "sstat and sacct returned no energy for the running step"


def test_sacct_as_fallback(site):
    site.command("sstat", "", "exit 1")
    site.command("sacct", "800\n")
    collector = site.collector()
    assert "sacct is queried" in collector.probe().procedure
    collector.start()
    assert answered(collector) == (0.0,)


def test_sacct_zero_is_not_an_answer(site):
    site.command("scontrol", RAPL)
    site.command("sacct", "0\n")
    available = site.collector().probe()
    assert available.quantities == ()
    assert available.missing[0].reason == "sacct returned no energy for the running step"


def test_no_commands(site):
    (missing,) = site.collector().probe().missing
    assert missing.reason == "neither sstat nor sacct is on PATH"


def test_failing_query(site):
    site.command("sstat", "5000\n")
    collector = site.collector()
    collector.probe()
    collector.start()
    assert answered(collector) == (0.0,)
    site.command("sstat", "no such job\n")
    site.now_s += 60
    collector.sample()
    assert answered(collector) == (None,)
    (site.folder / "sstat").unlink()
    site.now_s += 60
    assert collector.sample() == (None,)


def test_facts_with_hanging_commands(site, monkeypatch):
    monkeypatch.setattr(time, "monotonic", time.perf_counter)
    monkeypatch.setattr(slurm, "_PROBE_TIMEOUT_S", 0.3)
    for name in ("scontrol", "sstat", "sacct"):
        site.command(name, "", "exec /bin/sleep 300")
    started = time.perf_counter()
    available = site.collector(JOB).probe()
    assert time.perf_counter() - started < 10
    assert available.facts["job_id"] == "4711"
    assert available.missing[0].what == "energy"
    assert site.asked("sacct") == []  # the time was over


def test_stop_does_not_wait_for_grandchildren(site):
    site.command("sstat", "5000\n")
    collector = site.collector()
    collector.probe()
    site.command("sstat", "5000\n", "/bin/sleep 10")
    collector.start()
    deadline = time.perf_counter() + 10
    while len(site.asked("sstat")) < 2 and time.perf_counter() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    started = time.perf_counter()
    collector.stop()
    assert time.perf_counter() - started < 5


def test_hanging_query_is_killed(site):
    site.command("sstat", "5000\n")
    collector = site.collector()
    collector.probe()
    site.command("sstat", "5000\n", "exec /bin/sleep 300")
    started = time.perf_counter()
    collector.start()
    question = collector._query
    assert collector.sample() == (None,)
    site.now_s += 20
    assert collector.sample() == (None,)
    assert question.poll() is not None
    assert collector._query is None
    site.now_s += 40
    collector.sample()
    question = collector._query
    collector.stop()
    assert question.poll() is not None
    assert time.perf_counter() - started < 30
