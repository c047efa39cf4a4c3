"""Where what collectors find goes to, and which of it is this process's."""

import functools
from types import SimpleNamespace

import pytest

from yprov_mlflow.collectors.base import Surroundings
from yprov_mlflow.recorder import collecting

RUN = "0" * 32


def claims(folder, host):
    recorder = SimpleNamespace(directory=folder / "journals", host=host)
    return collecting.Collecting(recorder).claims(RUN)


@pytest.mark.parametrize(
    ("boot_id", "second"),
    [("5445b454-f7e0-45ba-a507-82cfff709166\n", set()), (None, {"node"})],
    ids=["one machine", "two machines"],
)
def test_containers_of_one_machine_measure_it_once(tmp_path, monkeypatch, boot_id, second):
    monkeypatch.setattr(
        collecting, "Surroundings", functools.partial(Surroundings, root=tmp_path / "root")
    )
    if boot_id is not None:
        file = tmp_path / "root/proc/sys/kernel/random/boot_id"
        file.parent.mkdir(parents=True)
        file.write_text(boot_id)
    pods = [claims(tmp_path, host) for host in ("pod-0", "pod-1")]
    assert [pod.take(["node"]) for pod in pods] == [{"node"}, second]
    for pod in pods:
        pod.release()
