"""The container that this process is in, by the marks that each kind leaves."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from yprov_mlflow.prov.collectors.base import Available, Collector, Unavailable
from yprov_mlflow.prov.collectors.system import cgroups, node, processors
from yprov_mlflow.prov.collectors.system.sysfiles import text
from yprov_mlflow.prov.events import Json

# The first that is set counts; a container of Kubernetes may have the marks of Docker as well.
_VARIABLES = {
    "APPTAINER_NAME": "apptainer",
    "SINGULARITY_NAME": "apptainer",
    "KUBERNETES_SERVICE_HOST": "kubernetes",
    "SHIFTER_RUNTIME": "shifter",
    "CH_RUNNING": "charliecloud",
}
_FILES = {".dockerenv": "docker", "run/.containerenv": "podman"}
_KINDS = ("docker", "podman", "lxc", "lxc-libvirt", "systemd-nspawn")
"""What the variable ``container`` may say, by a custom that systemd began."""

_NAMES = ("APPTAINER_NAME", "SINGULARITY_NAME")
_IMAGES = ("APPTAINER_CONTAINER", "SINGULARITY_CONTAINER", "SHIFTER_IMAGEREQUEST")
# Not HOSTNAME: a pod in the node's network has the node's.
_POD_NAMES = ("POD_NAME", "MY_POD_NAME")
_SERVICE_ACCOUNT = "var/run/secrets/kubernetes.io/serviceaccount"
_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
# Folders of a container that its runtime mounts files from, such as /etc/hostname.
_MOUNT = re.compile(r"/(?:containers|overlay-containers|sandboxes)/([0-9a-f]{64})/")


class Container(Collector):
    """Facts about the container, where there is one."""

    name = "container"

    def probe(self) -> Available | Unavailable:
        """Find out which container this is, see ``collect``."""
        facts = collect(self.surroundings.root, self.surroundings.environ)
        return Available(facts) if facts else Unavailable("not in a container")


def collect(root: Path, environ: Mapping[str, str]) -> dict[str, Json]:
    """Describe the container of this process.

    Returns:
        ``kind``, ``id``, ``name``, ``image``, ``pod``, ``namespace``, ``cpu_limit`` (CPUs) and
        ``memory_limit_bytes``, each only where it is known; nothing outside a container.
    """
    found = kind(root, environ)
    if found is None:
        return {}
    memory_limit = cgroups.memory_limit(root, node.memory(root).total)
    noted = _noted(root)
    facts: dict[str, Json] = {
        "kind": found,
        "id": noted.get("id") or _id(root),
        "name": noted.get("name") or _first(environ, _NAMES),
        "image": noted.get("image") or _first(environ, _IMAGES),
        "cpu_limit": cgroups.cpus(root, processors.count(root)),
        "memory_limit_bytes": memory_limit and int(memory_limit.amount),
    }
    if found == "kubernetes":
        facts["pod"] = _first(environ, _POD_NAMES)
        facts["namespace"] = text(root / _SERVICE_ACCOUNT / "namespace") or environ.get(
            "POD_NAMESPACE"
        )
    return {key: value for key, value in facts.items() if value}


def kind(root: Path, environ: Mapping[str, str]) -> str | None:
    """Say what kind of container this process is in, such as ``"docker"``; None for none."""
    for variable, found in _VARIABLES.items():
        if variable in environ:
            return found
    for name, found in _FILES.items():
        if (root / name).exists():
            return found
    said = environ.get("container") or text(root / "run/systemd/container")
    return said if said in _KINDS else None


def _noted(root: Path) -> dict[str, str]:
    """Read what Podman notes for containers of root: lines such as ``id="…"``."""
    lines = (line.partition("=") for line in text(root / "run/.containerenv").splitlines())
    return {key: value.strip('"') for key, _, value in lines}


def _id(root: Path) -> str | None:
    """Find the id in the paths of the control groups, else in those of mounted files."""
    ids = _ID.findall(text(root / "proc/self/cgroup"))
    if ids:
        return str(ids[-1])  # of nested containers the innermost
    match = _MOUNT.search(text(root / "proc/self/mountinfo"))
    return match[1] if match else None


def _first(environ: Mapping[str, str], variables: tuple[str, ...]) -> str | None:
    return next((environ[name] for name in variables if environ.get(name)), None)
