"""The SLURM job that this process is in, and the energy that SLURM counted for its step."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence

from yprov_mlflow.prov.collectors import ranks
from yprov_mlflow.prov.collectors.base import (
    Available,
    Collector,
    CollectorContext,
    Quantity,
    Unavailable,
)
from yprov_mlflow.prov.events import Json

_EVERY_S = 60.0
"""Seconds between two questions to SLURM: its daemons on all nodes must answer each."""

_PATIENCE_S = 20.0
_PROBE_S = 12.0
"""Seconds that SLURM has for all questions of the probe, which else is given up with its facts."""

_FIELD = "ConsumedEnergyRaw"
_UNKNOWN = 2**63
"""SLURM's numbers for "not known" lie above it."""

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
_STEPS = {str(0xFFFFFFFA): "interactive", str(0xFFFFFFFB): "batch"}
"""Steps that have a name, by the number that the variable has."""

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
    "{command} is asked at the start and then once a minute for ConsumedEnergyRaw of step {step}:"
    " the energy of the step's nodes as SLURM's plugin {plugin} counts it, which contains that of"
    " processors and devices. Samples in between have no value, and the last may be a minute old."
)
_ASK_SITE = "Ask the site whether SLURM can gather energy (AcctGatherEnergyType in slurm.conf)."


class Slurm(Collector):
    """Facts of the job from its environment, and the energy of the step where SLURM has it."""

    name = "slurm"

    def __init__(self, surroundings: CollectorContext) -> None:
        super().__init__(surroundings)
        self._command: list[str] = []
        self._question: subprocess.Popen[str] | None = None

    def probe(self) -> Available | Unavailable:
        """Read the job's variables; the first rank asks SLURM once for the energy."""
        self._until_s = time.monotonic() + _PROBE_S
        facts = collect(self.surroundings.environ)
        if "job_id" not in facts:
            return Unavailable("not in a SLURM job")
        if ranks.collect(self.surroundings.environ).get("rank"):
            return Available(facts)  # a thousand ranks that ask would stop SLURM's controller
        plugin = self._plugin()
        if plugin == "none":
            energy: str | Unavailable = Unavailable(
                "SLURM gathers no energy here (AcctGatherEnergyType is none)", _ASK_SITE, "energy"
            )
        else:
            energy = self._step(facts, gathered=bool(plugin))
        if isinstance(energy, Unavailable):
            return Available(facts, missing=[energy])
        quantity = Quantity(
            "energy",
            "J",
            "ElectricEnergy",
            "job",
            "measured",
            cumulative=True,
            claim="job",
            system_metric="slurm_energy_joules",
        )
        procedure = _PROCEDURE.format(
            command=self._command[0].rpartition("/")[2], step=energy, plugin=plugin or "for energy"
        )
        return Available(facts, [quantity], agent="SLURM", procedure=procedure)

    def _plugin(self) -> str:
        """Give the plugin that gathers energy, ``"none"``, or "" where nothing says it."""
        output = self._ask("scontrol", "show", "config")
        match = re.search(r"^AcctGatherEnergyType\s*=\s*(\S+)", output or "", re.MULTILINE)
        if match is None:
            return ""
        name = match[1].removeprefix("acct_gather_energy/")
        return "none" if name in ("(null)", "none") else name

    def _step(self, facts: Mapping[str, Json], *, gathered: bool) -> str | Unavailable:
        """Find the command that knows the energy of the step; give the step.

        In its first half minute a step has 0 J, and sacct says 0 of any step that still runs:
        that is an answer from sstat alone, and only where energy is known to be gathered.
        """
        job, own = facts["job_id"], facts.get("step")
        steps = [str(own)] if own else ["batch", "interactive"]
        found = [name for name in ("sstat", "sacct") if self._which(name)]
        if not found:
            return Unavailable("neither sstat nor sacct is on PATH", _ASK_SITE, "energy")
        for name in found:
            least_j = 0.0 if gathered and name == "sstat" else 1.0
            for step in (f"{job}.{step}" for step in steps):
                words = ["--noheader", "--parsable2", f"--jobs={step}", f"--format={_FIELD}"]
                now_j = _joules(self._ask(name, *words))
                if now_j is not None and now_j >= least_j:
                    self._command = [self._which(name) or name, *words]
                    return step
        return Unavailable(
            f"{' and '.join(found)} gave no energy of the running step", _ASK_SITE, "energy"
        )

    def _which(self, name: str) -> str | None:
        return shutil.which(name, path=self.surroundings.environ.get("PATH", ""))

    def _ask(self, name: str, *words: str) -> str | None:
        path = self._which(name)
        left_s = self._until_s - time.monotonic()
        if path is None or left_s <= 0:
            return None
        try:
            return subprocess.run(
                [path, *words],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=left_s,
                stdin=subprocess.DEVNULL,
                env=dict(self.surroundings.environ),
            ).stdout
        except (OSError, subprocess.TimeoutExpired):
            return None

    def start(self) -> None:
        """Ask for the first number; the total begins at 0 with it."""
        self._first_j: float | None = None
        self._most_j = 0.0
        self._ask_aside()

    def sample(self) -> Sequence[float | None]:
        """Give the energy if SLURM has answered since the last sample; never wait for it."""
        if not self._command:
            return ()
        if self._question is None:
            if time.monotonic() >= self._asked_s + _EVERY_S:
                self._ask_aside()
            return (None,)
        if self._question.poll() is None:
            if time.monotonic() >= self._asked_s + _PATIENCE_S:
                self.stop()
            return (None,)
        now_j = _joules(self._question.communicate()[0])
        self._question = None
        if now_j is None:
            return (None,)
        if self._first_j is None:
            self._first_j = now_j
        if now_j == 0:  # not gathered yet
            return (None,)
        self._most_j = max(self._most_j, now_j - self._first_j)
        return (self._most_j,)

    def _ask_aside(self) -> None:
        if not self._command:
            return
        self._asked_s = time.monotonic()
        try:
            self._question = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                errors="replace",
                env=dict(self.surroundings.environ),
            )
        except OSError:
            self._question = None

    def stop(self) -> None:
        """End a question that is still open."""
        question, self._question = self._question, None
        if question is not None:
            question.kill()
            if question.stdout is not None:  # not read: what it started may hold it open
                question.stdout.close()
            question.wait()


def collect(environ: Mapping[str, str]) -> dict[str, Json]:
    """Describe the job of this process by the variables that SLURM sets.

    Returns:
        ``job_id``, ``step``, ``name``, ``cluster``, ``partition``, ``node_list``, ``nodes``,
        ``tasks``, ``tasks_per_node``, ``cpus_per_task``, ``cpus_on_node``, memory in megabytes,
        ``gpus`` as asked for, ``gpus_on_node``, ``gpu_ids_on_node``, ``restarts``, and of
        arrays ``array_job_id`` and ``array_task_id``; each only where it is set.
    """
    facts: dict[str, Json] = {}
    for key, variables in _TEXTS.items():
        if found := _first(environ, variables):
            facts[key] = _STEPS.get(found, found) if key == "step" else found
    for key, variables in _NUMBERS.items():
        found = _first(environ, variables)
        if found.isascii() and found.isdigit():
            facts[key] = int(found)
    return facts


def _first(environ: Mapping[str, str], variables: tuple[str, ...]) -> str:
    return next((environ[name] for name in variables if environ.get(name)), "")


def _joules(output: str | None) -> float | None:
    """Read the energy of the step from a command's output."""
    for line in (output or "").splitlines():
        number = line.strip()
        if number.isascii() and number.isdigit() and int(number) < _UNKNOWN:
            return float(number)
    return None
