import pytest
from yprov_mlflow_plugins_example.pressure import Pressure

from yprov_mlflow.prov.collectors.base import Available, CollectorContext, Unavailable
from yprov_mlflow.prov.collectors.testing import check_collector


def test_contract():
    check_collector(Pressure)


@pytest.fixture
def fake_kernel(tmp_path):
    """Return a context with a fake pressure file, and a function that changes its total."""
    file = tmp_path / "proc/pressure/cpu"
    file.parent.mkdir(parents=True)

    def write(microseconds):
        file.write_text(f"some avg10=1.00 avg60=0.50 avg300=0.10 total={microseconds}\n")

    write(7_000_000)
    return CollectorContext(root=tmp_path), write


def test_seconds_since_start(fake_kernel):
    context, write = fake_kernel
    result = check_collector(Pressure, context)
    assert isinstance(result, Available)
    assert [quantity.name for quantity in result.quantities] == ["cpu_wait"]
    assert [part.what for part in result.missing] == ["memory", "io"]
    collector = Pressure(context)
    collector.probe()
    collector.start()
    write(7_250_000)
    assert collector.sample() == [0.25]
    write("?")
    assert collector.sample() == [None]


def test_kernel_without_pressure(tmp_path):
    result = check_collector(Pressure, CollectorContext(root=tmp_path))
    assert isinstance(result, Unavailable)
    assert "psi=1" in result.cure
