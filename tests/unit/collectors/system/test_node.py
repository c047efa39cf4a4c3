import os

import psutil
import pytest

from yprov_mlflow.prov.collectors.system import node


def test_cpu_times_and_cpuinfo(tmp_path, monkeypatch):
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path / "proc"))
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/stat").write_text("cpu  1 2 3 400 50 6 7 8 90 90\ncpu0 1\ncpu1 1\nintr 5\n")
    (tmp_path / "proc/cpuinfo").write_text(
        "vendor_id\t: GenuineIntel\nmodel name\t: Fast 9\nflags\t: fpu hypervisor\n"
    )
    busy = 1 + 2 + 3 + 6 + 7
    ticks_per_s = os.sysconf("SC_CLK_TCK")
    seconds = (busy / ticks_per_s, (busy + 458) / ticks_per_s)
    assert node.cpu_times() == pytest.approx(seconds)
    assert node.cpu_count() == psutil.cpu_count()
    assert node.cpu_model(tmp_path) == "Fast 9"
    assert node.cpu_vendor(tmp_path) == "GenuineIntel"
    assert node.is_virtual_machine(tmp_path)
