"""The devices that a process may use according to its environment.

CUDA's rules, which HIP and ROCr share: a list of ordinals and ids; an id may be shortened to a
unique prefix; the list ends before the first invalid entry; a repeated device hides all devices.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

_ORDINAL = re.compile(r"[+]?\d+")
_RANGE = re.compile(r"(\d+)-(\d+)\Z")
_ALLOCATIONS = ("SLURM_STEP_GPUS", "SLURM_JOB_GPUS", "GPU_DEVICE_ORDINAL")


class Visible(NamedTuple):
    """The visible devices in their order, and the ``NAME=value`` that selects them."""

    devices: list[str]
    source: str


def nvidia(
    environ: Mapping[str, str],
    ordinals: Sequence[str],
    names: Mapping[str, str],
    *,
    constrained: bool = False,
) -> Visible:
    """Return the NVIDIA devices of this process.

    Args:
        environ: Environment variables.
        ordinals: The devices that can be opened, in NVML's order.
        names: The device for each id; MIG instances have two forms of id.
        constrained: Whether some devices cannot be opened: the others are then already the
            process's allocation.
    """
    value = environ.get("CUDA_VISIBLE_DEVICES")
    if value is not None:
        return Visible(parse_list(value, ordinals, names), f"CUDA_VISIBLE_DEVICES={value}")
    visible = None
    if not constrained:
        variables = (*_ALLOCATIONS, "NVIDIA_VISIBLE_DEVICES")
        visible = allocation(environ, variables, ordinals, names)
    return visible or Visible(list(ordinals), "")


def amd(environ: Mapping[str, str], ordinals: Sequence[str], names: Mapping[str, str]) -> Visible:
    """Return the AMD devices of this process."""
    devices, sources = list(ordinals), []
    hip = next((n for n in ("HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES") if n in environ), "")
    # Each variable selects from the devices that the previous ones left.
    for variable in ("ROCR_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", hip):
        if variable in environ:
            remaining = {name: device for name, device in names.items() if device in devices}
            devices = parse_list(environ[variable], devices, remaining)
            sources.append(f"{variable}={environ[variable]}")
    if sources:
        return Visible(devices, " ".join(sources))
    return allocation(environ, _ALLOCATIONS[:2], ordinals, names) or Visible(devices, "")


def parse_list(value: str, ordinals: Sequence[str], names: Mapping[str, str]) -> list[str]:
    """Return the devices that a list such as ``0,GPU-4b2c`` makes visible."""
    devices: list[str] = []
    for word in value.split(","):
        device = _device(word.strip(), ordinals, names)
        if device is None:
            break
        if device in devices:
            return []
        devices.append(device)
    return devices


def allocation(
    environ: Mapping[str, str],
    variables: Sequence[str],
    ordinals: Sequence[str],
    names: Mapping[str, str],
) -> Visible | None:
    """Return the devices that a scheduler or container runtime allocated to this process.

    Such lists number the devices of the node. If one of them does not exist here, some devices
    are already hidden and the numbers do not match: the list is ignored.
    """
    for variable in variables:
        words = [word.strip() for word in environ.get(variable, "").split(",")]
        numbers = [number for word in words for number in _expand_range(word)]
        devices = [_device(number, ordinals, names) for number in numbers]
        valid = [device for device in devices if device is not None]
        if len(valid) == len(devices) == len(set(valid)):
            return Visible(valid, f"{variable}={environ[variable]}")
    return None


def _expand_range(word: str) -> list[str]:
    match = _RANGE.match(word)
    if match is None:
        return [word]
    first, last = int(match[1]), int(match[2])
    return [str(number) for number in range(first, min(last, first + 1024) + 1)]


def _device(word: str, ordinals: Sequence[str], names: Mapping[str, str]) -> str | None:
    number = _ORDINAL.match(word)  # like C's atoi: "1x" is 1
    if number:
        return ordinals[int(number[0])] if int(number[0]) < len(ordinals) else None
    word = word.lower()
    if not word.startswith(("gpu-", "mig-")):
        return None
    exact = {device for name, device in names.items() if name.lower() == word}
    matches = exact or {device for name, device in names.items() if name.lower().startswith(word)}
    return matches.pop() if len(matches) == 1 else None
