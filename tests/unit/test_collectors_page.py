"""The collector that docs/collectors.md shows works as it stands there."""

import re
from pathlib import Path

from yprov_mlflow.prov.collectors.base import Available, CollectorContext, Unavailable
from yprov_mlflow.prov.collectors.catalog import BUILT_IN
from yprov_mlflow.prov.collectors.testing import check_collector

PAGE = Path(__file__).resolve().parents[2] / "docs" / "collectors.md"
TEXT = PAGE.read_text("utf-8")


def test_the_example_collects(tmp_path):
    (source,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    names = {}
    exec(source, names)
    meter = names["Meter"](CollectorContext(root=tmp_path))
    absent = meter.probe()
    assert isinstance(absent, Unavailable) and absent.cure
    (tmp_path / "run/meter").mkdir(parents=True)
    (tmp_path / "run/meter/watts").write_text("312.5\n")
    found = check_collector(names["Meter"], CollectorContext(root=tmp_path))
    assert isinstance(found, Available)
    assert {quantity.device for quantity in found.quantities} == {d.id for d in found.devices}
    meter.probe()
    assert list(meter.sample()) == [312.5]


def test_every_collector_is_described():
    described = set(re.findall(r"^\| `([a-z-]+)`", TEXT, re.MULTILINE))
    assert set(BUILT_IN) <= described
