"""The container of this process, detected by the marks that each container runtime leaves."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from yprov_mlflow.prov.collectors.base import Available, Collector, Unavailable
from yprov_mlflow.prov.collectors.ranks import first_value
from yprov_mlflow.prov.collectors.system import cgroups, node
from yprov_mlflow.prov.collectors.system.node import read_text
from yprov_mlflow.prov.events import Json

# The first match wins: a Kubernetes container may have Docker's marks too.
_VARIABLES = {
    "APPTAINER_NAME": "apptainer",
    "SINGULARITY_NAME": "apptainer",
    "KUBERNETES_SERVICE_HOST": "kubernetes",
    "SHIFTER_RUNTIME": "shifter",
    "CH_RUNNING": "charliecloud",
}
_FILES = {".dockerenv": "docker", "run/.containerenv": "podman"}
# Values of the variable ``container``, a convention of systemd. Users set it for other purposes.
_KINDS = ("docker", "podman", "lxc", "lxc-libvirt", "systemd-nspawn")

_NAMES = ("APPTAINER_NAME", "SINGULARITY_NAME")
_IMAGES = ("APPTAINER_CONTAINER", "SINGULARITY_CONTAINER", "SHIFTER_IMAGEREQUEST")
# Not HOSTNAME: a pod in the node's network has the node's.
_POD_NAMES = ("POD_NAME", "MY_POD_NAME")
_SERVICE_ACCOUNT = "var/run/secrets/kubernetes.io/serviceaccount"
_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
# A container's folder on the host, from which the runtime mounts files such as /etc/hostname.
_MOUNT = re.compile(r"/(?:containers|overlay-containers|sandboxes)/([0-9a-f]{64})/")


class Container(Collector):
    """Facts about the container of this process."""

    name = "container"

    def probe(self) -> Available | Unavailable:
        """Detect the container, see ``collect``."""
        facts = collect(self.context.root, self.context.environ)
        return Available(facts) if facts else Unavailable("not in a container")


def collect(root: Path, environ: Mapping[str, str]) -> dict[str, Json]:
    """Return the facts about the container of this process.

    Returns:
        ``kind``, ``id``, ``name``, ``image``, ``pod``, ``namespace``, ``cpu_limit`` (CPUs) and
        ``memory_limit_bytes``, without unknown ones; empty outside a container.
    """
    container_kind = kind(root, environ)
    if container_kind is None:
        return {}
    memory_limit = cgroups.memory_limit(root, node.memory().total)
    podman = _podman_facts(root)
    facts: dict[str, Json] = {
        "kind": container_kind,
        "id": podman.get("id") or _id(root),
        "name": podman.get("name") or first_value(environ, _NAMES),
        "image": podman.get("image") or first_value(environ, _IMAGES),
        "cpu_limit": cgroups.cpu_allowance(root, node.cpu_count()),
        "memory_limit_bytes": memory_limit and int(memory_limit.amount),
    }
    if container_kind == "kubernetes":
        namespace = read_text(root / _SERVICE_ACCOUNT / "namespace")
        facts["pod"] = first_value(environ, _POD_NAMES)
        facts["namespace"] = namespace or environ.get("POD_NAMESPACE")
    return {key: value for key, value in facts.items() if value}


def kind(root: Path, environ: Mapping[str, str]) -> str | None:
    """Return the kind of container, such as ``"docker"``; None outside a container."""
    for variable, name in _VARIABLES.items():
        if variable in environ:
            return name
    for file, name in _FILES.items():
        if (root / file).exists():
            return name
    declared = environ.get("container") or read_text(root / "run/systemd/container")
    return declared if declared in _KINDS else None


def _podman_facts(root: Path) -> dict[str, str]:
    """Return the lines such as ``id="…"`` that Podman writes, for containers run by root."""
    lines = (line.partition("=") for line in read_text(root / "run/.containerenv").splitlines())
    return {key: value.strip('"') for key, _, value in lines}


def _id(root: Path) -> str | None:
    ids = _ID.findall(read_text(root / "proc/self/cgroup"))
    if ids:
        return str(ids[-1])  # the innermost of nested containers
    match = _MOUNT.search(read_text(root / "proc/self/mountinfo"))
    return match[1] if match else None
