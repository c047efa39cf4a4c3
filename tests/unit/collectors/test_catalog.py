"""Collectors of other packages: metadata of installed ones, in a folder on the path."""

import pytest

from yprov_mlflow.prov import plugins
from yprov_mlflow.prov.collectors import catalog
from yprov_mlflow.prov.collectors.base import Collector
from yprov_mlflow.prov.collectors.git import Git
from yprov_mlflow.prov.errors import CollectorError

OPTIONAL = ["files", "codecarbon"]
DEFAULT = [name for name in catalog.BUILT_IN if name not in OPTIONAL]


@pytest.fixture
def register(tmp_path, monkeypatch):
    """Install a package that registers a collector."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name, value):
        folder = tmp_path / f"{name}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(f"[{plugins.COLLECTORS}]\n{name} = {value}\n")

    return write


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ([], []),
        (["none"], []),
        (["default"], DEFAULT),
        (["default", "-nvidia"], [name for name in DEFAULT if name != "nvidia"]),
        (["-nvidia"], [name for name in DEFAULT if name != "nvidia"]),
        (["-nvidia", "codecarbon"], [*(n for n in DEFAULT if n != "nvidia"), "codecarbon"]),
        (["-nvidia", "default"], DEFAULT),
        (["all", "-default"], OPTIONAL),
        (["git", "cpu", "git"], ["cpu", "git"]),  # in the order in which they are probed
    ],
    ids=str,
)
def test_choose(chosen, expected):
    assert catalog.choose(chosen) == expected


def test_built_in_names_do_not_read_entry_points(monkeypatch):
    monkeypatch.delattr(plugins, "entry_points")
    assert catalog.choose(["default", *OPTIONAL]) == [*catalog.BUILT_IN]


def test_measuring_collectors_are_probed_first():
    order = catalog.choose(["all"])
    measuring = [order.index(name) for name in ("host", "cpu", "nvidia", "amd")]
    assert max(measuring) < min(order.index("git"), order.index("slurm"))


def test_unknown_name_lists_available_collectors():
    with pytest.raises(CollectorError, match=r"'nvdia'.*Choose from none, default, all, cpu"):
        catalog.choose(["nvdia"])
    with pytest.raises(CollectorError, match="'nvdia'"):
        catalog.load("nvdia")


def test_entry_points_cannot_replace_built_in_collectors(register):
    register("zeta", "yprov_mlflow.prov.collectors.base:Collector")
    register("git", "yprov_mlflow.prov.collectors.base:Collector")
    assert catalog.names() == [*catalog.BUILT_IN, "zeta"]
    assert catalog.choose(["all"]) == [*catalog.BUILT_IN, "zeta"]
    assert catalog.load("git") is Git
    assert catalog.load("zeta") is Collector


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("yprov_mlflow.prov.collectors.base:Quantity", "not a subclass of Collector"),
        ("yprov_mlflow.prov.collectors.base:NONE", "AttributeError"),
        ("there_is_no_such_module:Meter", "ModuleNotFoundError"),
    ],
)
def test_broken_entry_point(register, value, expected):
    register("broken", value)
    with pytest.raises(CollectorError, match=expected) as error:
        catalog.load("broken")
    assert "exclude it with -broken" in error.value.cure
