"""The SLURM job of this process, and the energy that SLURM accounts for its step."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from functools import partial

from yprov_mlflow.prov.collectors import ranks
from yprov_mlflow.prov.collectors.base import Available, Collector, Unavailable, energy
from yprov_mlflow.prov.collectors.ranks import first_value
from yprov_mlflow.prov.events import Json

# Seconds between two queries: SLURM's daemons on all nodes must answer each of them.
_QUERY_INTERVAL_S = 60.0
_QUERY_TIMEOUT_S = 20.0

# For all commands of the probe. Must end before the sampler gives up the probe (PROBE_LIMIT_S),
# which would lose the facts as well.
_PROBE_TIMEOUT_S = 12.0

_FIELD = "ConsumedEnergyRaw"
_UNKNOWN = 2**63  # SLURM's placeholders for unknown numbers are above it

_TEXTS = {
    "job_id": ("SLURM_JOB_ID", "SLURM_JOBID"),
    "array_job_id": ("SLURM_ARRAY_JOB_ID",),
    "step": ("SLURM_STEP_ID", "SLURM_STEPID"),
    "name": ("SLURM_JOB_NAME",),
    "cluster": ("SLURM_CLUSTER_NAME",),
    "partition": ("SLURM_JOB_PARTITION",),
    "node_list": ("SLURM_JOB_NODELIST", "SLURM_NODELIST"),
    "tasks_per_node": ("SLURM_STEP_TASKS_PER_NODE", "SLURM_TASKS_PER_NODE"),
    "gpus": ("SLURM_GPUS", "SLURM_GPUS_PER_NODE"),
    "gpu_ids_on_node": ("SLURM_STEP_GPUS", "SLURM_JOB_GPUS"),
}
# Steps that SLURM's commands know by name and the variable by number.
_STEP_NAMES = {str(0xFFFFFFFA): "interactive", str(0xFFFFFFFB): "batch"}

_NUMBERS = {
    "array_task_id": ("SLURM_ARRAY_TASK_ID",),
    "nodes": ("SLURM_JOB_NUM_NODES", "SLURM_NNODES"),
    "tasks": ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS", "SLURM_NPROCS"),
    "cpus_per_task": ("SLURM_CPUS_PER_TASK",),
    "cpus_on_node": ("SLURM_CPUS_ON_NODE",),
    "gpus_on_node": ("SLURM_GPUS_ON_NODE",),
    "memory_per_node_mb": ("SLURM_MEM_PER_NODE",),
    "memory_per_cpu_mb": ("SLURM_MEM_PER_CPU",),
    "memory_per_gpu_mb": ("SLURM_MEM_PER_GPU",),
    "restarts": ("SLURM_RESTART_COUNT",),
}
_PROCEDURE = (
    "{command} is queried at the start and then once a minute for ConsumedEnergyRaw of step {step}:"
    " the energy of the step's nodes as counted by SLURM's plugin {plugin}, which includes"
    " processors and devices. Samples in between are empty, and the last may be a minute old."
)
_no_energy = partial(
    Unavailable,
    cure="Ask the site whether SLURM can gather energy (AcctGatherEnergyType in slurm.conf).",
    what="energy",
)


class Slurm(Collector):
    """Facts about the job from its environment, and the energy of the step if SLURM gathers it."""

    name = "slurm"

    def probe(self) -> Available | Unavailable:
        """Read the job's variables; on the first rank, query SLURM once for the energy."""
        self._command: list[str] = []
        self._query: subprocess.Popen[str] | None = None
        self._deadline_s = time.monotonic() + _PROBE_TIMEOUT_S
        facts = collect(self.context.environ)
        if "job_id" not in facts:
            return Unavailable("not in a SLURM job")
        if ranks.collect(self.context.environ).get("rank"):
            return Available(facts)  # queries from a thousand ranks would stop SLURM's controller
        plugin = self._plugin()
        if plugin == "none":
            reason = "SLURM does not gather energy here (AcctGatherEnergyType=none)"
            return Available(facts, missing=[_no_energy(reason)])
        step = self._find_step(facts, gathered=bool(plugin))
        if isinstance(step, Unavailable):
            return Available(facts, missing=[step])
        quantity = energy("job", "measured", claim="job", system_metric="slurm_energy_joules")
        procedure = _PROCEDURE.format(
            command=self._command[0].rpartition("/")[2], step=step, plugin=plugin or "for energy"
        )
        return Available(facts, [quantity], agent="SLURM", procedure=procedure)

    def _plugin(self) -> str:
        """Return the plugin that gathers energy, ``"none"``, or "" if unknown."""
        output = self._run("scontrol", "show", "config")
        match = re.search(r"^AcctGatherEnergyType\s*=\s*(\S+)", output or "", re.MULTILINE)
        if match is None:
            return ""
        name = match[1].removeprefix("acct_gather_energy/")
        return "none" if name in ("(null)", "none") else name

    def _find_step(self, facts: Mapping[str, Json], *, gathered: bool) -> str | Unavailable:
        """Return the step of this process, and remember the command that knows its energy."""
        job, own = facts["job_id"], facts.get("step")
        steps = [str(own)] if own else ["batch", "interactive"]
        commands = [name for name in ("sstat", "sacct") if self._which(name)]
        if not commands:
            return _no_energy("neither sstat nor sacct is on PATH")
        for name in commands:
            # A step has 0 J in its first half minute, and sacct reports 0 for any running step:
            # 0 is an answer only from sstat, and only if energy is known to be gathered.
            min_j = 0.0 if gathered and name == "sstat" else 1.0
            for step in (f"{job}.{step}" for step in steps):
                options = ["--noheader", "--parsable2", f"--jobs={step}", f"--format={_FIELD}"]
                energy_j = _joules(self._run(name, *options))
                if energy_j is not None and energy_j >= min_j:
                    self._command = [self._which(name) or name, *options]
                    return step
        return _no_energy(f"{' and '.join(commands)} returned no energy for the running step")

    def _which(self, name: str) -> str | None:
        return shutil.which(name, path=self.context.environ.get("PATH", ""))

    def _run(self, name: str, *options: str) -> str | None:
        path = self._which(name)
        timeout_s = self._deadline_s - time.monotonic()
        if path is None or timeout_s <= 0:
            return None
        try:
            return subprocess.run(
                [path, *options],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout_s,
                stdin=subprocess.DEVNULL,
                env=dict(self.context.environ),
            ).stdout
        except (OSError, subprocess.TimeoutExpired):
            return None

    def start(self) -> None:
        """Query the energy at the start, which the total begins from."""
        self._first_j: float | None = None
        self._total_j = 0.0
        self._start_query()

    def sample(self) -> Sequence[float | None]:
        """Return the energy if SLURM has answered since the last sample; never wait for it."""
        if not self._command:
            return ()
        elapsed_s = time.monotonic() - self._query_start_s
        if self._query is None:
            if elapsed_s >= _QUERY_INTERVAL_S:
                self._start_query()
            return (None,)
        if self._query.poll() is None:
            if elapsed_s >= _QUERY_TIMEOUT_S:
                self.stop()
            return (None,)
        energy_j = _joules(self._query.communicate()[0])
        self._query = None
        if energy_j is None:
            return (None,)
        if self._first_j is None:
            self._first_j = energy_j
        if energy_j == 0:  # not gathered yet
            return (None,)
        self._total_j = max(self._total_j, energy_j - self._first_j)
        return (self._total_j,)

    def _start_query(self) -> None:
        if not self._command:
            return
        self._query_start_s = time.monotonic()
        try:
            self._query = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                errors="replace",
                env=dict(self.context.environ),
            )
        except OSError:
            self._query = None

    def stop(self) -> None:
        """Kill a running query."""
        query, self._query = self._query, None
        if query is not None:
            query.kill()
            if query.stdout is not None:  # closed unread: a grandchild may keep the pipe open
                query.stdout.close()
            query.wait()


def collect(environ: Mapping[str, str]) -> dict[str, Json]:
    """Return the facts about the job of this process from SLURM's variables.

    Returns:
        ``job_id``, ``step``, ``name``, ``cluster``, ``partition``, ``node_list``, ``nodes``,
        ``tasks``, ``tasks_per_node``, ``cpus_per_task``, ``cpus_on_node``, memory in megabytes,
        ``gpus`` as requested, ``gpus_on_node``, ``gpu_ids_on_node``, ``restarts``, and for
        arrays ``array_job_id`` and ``array_task_id``, without unknown ones.
    """
    facts: dict[str, Json] = {}
    for key, variables in _TEXTS.items():
        if text := first_value(environ, variables):
            facts[key] = _STEP_NAMES.get(text, text) if key == "step" else text
    for key, variables in _NUMBERS.items():
        number = first_value(environ, variables)
        if number.isascii() and number.isdigit():
            facts[key] = int(number)
    return facts


def _joules(output: str | None) -> float | None:
    for line in (output or "").splitlines():
        number = line.strip()
        if number.isascii() and number.isdigit() and int(number) < _UNKNOWN:
            return float(number)
    return None
