import pytest
from yprov_mlflow_collector_example import Pressure

from yprov_mlflow.prov.collectors.base import Available, CollectorContext, Unavailable
from yprov_mlflow.prov.collectors.testing import check_collector


def test_it_keeps_the_contract_on_this_machine():
    check_collector(Pressure)


@pytest.fixture
def tree(tmp_path):
    """Give a root with a file of pressure, and a function that writes its total."""
    file = tmp_path / "proc/pressure/cpu"
    file.parent.mkdir(parents=True)

    def write(microseconds):
        file.write_text(f"some avg10=1.00 avg60=0.50 avg300=0.10 total={microseconds}\n")

    write(7_000_000)
    return CollectorContext(root=tmp_path), write


def test_seconds_since_the_start(tree):
    surroundings, write = tree
    found = check_collector(Pressure, surroundings)
    assert isinstance(found, Available)
    assert [quantity.name for quantity in found.quantities] == ["cpu_wait"]
    assert [part.what for part in found.missing] == ["memory", "io"]
    collector = Pressure(surroundings)
    collector.probe()
    collector.start()
    write(7_250_000)
    assert collector.sample() == [0.25]
    write("?")
    assert collector.sample() == [None]


def test_a_kernel_without_it(tmp_path):
    found = check_collector(Pressure, CollectorContext(root=tmp_path))
    assert isinstance(found, Unavailable)
    assert "psi=1" in found.cure
