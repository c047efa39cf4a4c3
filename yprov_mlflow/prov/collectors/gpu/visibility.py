"""Which devices a process may use, as the environment says it.

The rules of CUDA, which HIP and ROCr share: a list of ordinals and ids; ids may be shortened to
what tells them apart; the list ends before the first entry that means nothing; naming a device
twice hides all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

_ORDINAL = re.compile(r"[+]?\d+")
_RANGE = re.compile(r"(\d+)-(\d+)\Z")
_SHARES = ("SLURM_STEP_GPUS", "SLURM_JOB_GPUS", "GPU_DEVICE_ORDINAL")


class Visible(NamedTuple):
    """The devices that are visible, in their order, and the ``NAME=value`` that says so."""

    devices: list[str]
    because: str


def nvidia(
    environ: Mapping[str, str],
    ordinals: Sequence[str],
    names: Mapping[str, str],
    *,
    constrained: bool = False,
) -> Visible:
    """Give the NVIDIA devices that are this process's.

    Args:
        environ: Environment variables.
        ordinals: The devices that can be opened, in NVML's order.
        names: The device of each id; MIG instances have two forms of id.
        constrained: Whether there are devices that cannot be opened: then those that can are
            the process's share already.
    """
    value = environ.get("CUDA_VISIBLE_DEVICES")
    if value is not None:
        return Visible(listed(value, ordinals, names), f"CUDA_VISIBLE_DEVICES={value}")
    found = None
    if not constrained:
        found = share(environ, (*_SHARES, "NVIDIA_VISIBLE_DEVICES"), ordinals, names)
    return found or Visible(list(ordinals), "")


def amd(
    environ: Mapping[str, str],
    ordinals: Sequence[str],
    names: Mapping[str, str],
) -> Visible:
    """Give the AMD devices that are this process's: HIP counts among those that ROCr left."""
    devices, because = list(ordinals), []
    hip = next((n for n in ("HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES") if n in environ), "")
    for variable in ("ROCR_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", hip):
        if variable in environ:
            left = {name: device for name, device in names.items() if device in devices}
            devices = listed(environ[variable], devices, left)
            because.append(f"{variable}={environ[variable]}")
    if because:
        return Visible(devices, " ".join(because))
    return share(environ, _SHARES[:2], ordinals, names) or Visible(devices, "")


def listed(value: str, ordinals: Sequence[str], names: Mapping[str, str]) -> list[str]:
    """Give the devices that a list such as ``0,GPU-4b2c`` makes visible."""
    found: list[str] = []
    for word in value.split(","):
        device = _device(word.strip(), ordinals, names)
        if device is None:
            break
        if device in found:
            return []
        found.append(device)
    return found


def share(
    environ: Mapping[str, str],
    variables: Sequence[str],
    ordinals: Sequence[str],
    names: Mapping[str, str],
) -> Visible | None:
    """Give the devices that a scheduler or container says are this process's.

    Such lists count devices of the node. Where not all of them are known here, some are hidden
    already and the numbers mean others than ours; then the list says nothing.
    """
    for variable in variables:
        words = [word.strip() for word in environ.get(variable, "").split(",")]
        words = [each for word in words for each in _expanded(word)]
        devices = [_device(word, ordinals, names) for word in words]
        known = [device for device in devices if device is not None]
        if len(known) == len(devices) == len(set(known)):
            return Visible(known, f"{variable}={environ[variable]}")
    return None


def _expanded(word: str) -> list[str]:
    match = _RANGE.match(word)
    if match is None:
        return [word]
    first, last = int(match[1]), int(match[2])
    return [str(number) for number in range(first, min(last, first + 1024) + 1)]


def _device(word: str, ordinals: Sequence[str], names: Mapping[str, str]) -> str | None:
    number = _ORDINAL.match(word)
    if number:
        return ordinals[int(number[0])] if int(number[0]) < len(ordinals) else None
    word = word.lower()
    if not word.startswith(("gpu-", "mig-")):
        return None
    exact = {device for name, device in names.items() if name.lower() == word}
    found = exact or {device for name, device in names.items() if name.lower().startswith(word)}
    return found.pop() if len(found) == 1 else None
