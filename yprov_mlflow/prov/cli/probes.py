"""Which collectors work here: all are probed at once, each in a thread with a time limit."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from yprov_mlflow.prov.collectors import catalog
from yprov_mlflow.prov.collectors.base import Available, CollectorContext, Unavailable
from yprov_mlflow.prov.settings import Settings

PATIENCE_S = 5.0
"""How long a probe may take."""

Finding = dict[str, Any]


def probe(loaded: Settings, chosen: Sequence[str], patience_s: float = PATIENCE_S) -> list[Finding]:
    """Ask every collector, chosen or not, whether it works here.

    Returns:
        For each ``name``, ``summary``, ``chosen``, ``works``, ``reason`` and ``cure`` (None if
        it works), ``missing`` (parts that cannot be measured: what, reason, cure), ``devices``
        and ``quantities`` (names).
    """
    surroundings = CollectorContext(
        argv=[""],  # ours is not the script whose code is looked at
        interval_s=loaded.interval_s,
        country=loaded.country,
        carbon_intensity=loaded.carbon_intensity,
        cpu_tdp_w=loaded.cpu_tdp_w,
    )
    answers: dict[str, object] = {}

    def ask(name: str) -> None:
        try:
            answers[name] = catalog.load(name)(surroundings).probe()
        except BaseException as error:  # noqa: BLE001 - a probe may fail, or want to exit
            answers[name] = Unavailable(f"{type(error).__name__}: {error}")

    names = catalog.names()
    threads = [threading.Thread(target=ask, args=(name,), daemon=True) for name in names]
    with _silence():
        for thread in threads:
            thread.start()
        end = time.monotonic() + patience_s
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
    silent = Unavailable(f"it gave no answer within {patience_s:g} s")
    return [
        {
            "name": name,
            "summary": catalog.BUILT_IN[name].summary if name in catalog.BUILT_IN else "",
            "chosen": name in chosen,
            **_verdict(answers.get(name, silent)),
        }
        for name in names
    ]


def _verdict(answer: object) -> Finding:
    if isinstance(answer, Available) and "unavailable" in answer.facts:
        facts = answer.facts
        answer = Unavailable(str(facts["unavailable"]), str(facts.get("cure") or ""))
    found: Finding = {"works": True, "reason": None, "cure": None}
    found |= {"missing": [], "devices": [], "quantities": []}
    if isinstance(answer, Available):
        found["missing"] = [
            {"what": lack.what, "reason": lack.reason, "cure": lack.cure} for lack in answer.missing
        ]
        found["devices"] = [device.label for device in answer.devices]
        found["quantities"] = list(dict.fromkeys(one.name for one in answer.quantities))
        return found
    if not isinstance(answer, Unavailable):
        answer = Unavailable(f"its probe gave {answer!r}, which is no finding")
    return {**found, "works": False, "reason": answer.reason, "cure": answer.cure or None}


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep what vendors' libraries print, in Python or in C, out of the output."""
    sys.stdout.flush()
    # Not closed: a probe that outlives its limit may still print.
    nowhere = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - see above
    saved = os.dup(1)
    os.dup2(nowhere.fileno(), 1)
    try:
        with contextlib.redirect_stdout(nowhere):
            yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)
