"""Collectors of other packages: metadata of installed ones, in a folder on the path."""

import pytest

from yprov_mlflow.prov.collectors import catalog
from yprov_mlflow.prov.collectors.base import Collector
from yprov_mlflow.prov.collectors.git import Git
from yprov_mlflow.prov.errors import CollectorError

DEFAULT = [name for name in catalog.BUILT_IN if name != "codecarbon"]


@pytest.fixture
def register(tmp_path, monkeypatch):
    """Install a package that registers a collector."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name, value):
        folder = tmp_path / f"{name}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(f"[{catalog.GROUP}]\n{name} = {value}\n")

    return write


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ([], []),
        (["none"], []),
        (["default"], DEFAULT),
        (["default", "-nvidia"], [name for name in DEFAULT if name != "nvidia"]),
        (["-nvidia"], [name for name in DEFAULT if name != "nvidia"]),
        (["-nvidia", "codecarbon"], [n for n in catalog.BUILT_IN if n != "nvidia"]),
        (["-nvidia", "default"], DEFAULT),
        (["all", "-default"], ["codecarbon"]),
        (["git", "cpu", "git"], ["cpu", "git"]),  # in the order in which they are probed
    ],
    ids=str,
)
def test_a_choice(chosen, expected):
    assert catalog.choose(chosen) == expected


def test_ours_are_chosen_without_a_look_at_all_packages(monkeypatch):
    monkeypatch.delattr(catalog, "entry_points")
    assert catalog.choose(["default", "codecarbon"]) == [*catalog.BUILT_IN]


def test_what_measures_is_probed_before_what_asks_other_programs():
    order = catalog.choose(["all"])
    measuring = [order.index(name) for name in ("host", "cpu", "nvidia", "amd")]
    assert max(measuring) < min(order.index("git"), order.index("slurm"))


def test_an_unknown_name_is_an_error_that_names_those_there_are():
    with pytest.raises(CollectorError, match=r"'nvdia'.*Choose of none, default, all, cpu"):
        catalog.choose(["nvdia"])
    with pytest.raises(CollectorError, match="'nvdia'"):
        catalog.load("nvdia")


def test_others_come_after_ours_and_never_in_their_place(register):
    register("zeta", "yprov_mlflow.prov.collectors.base:Collector")
    register("git", "yprov_mlflow.prov.collectors.base:Collector")
    assert catalog.names() == [*catalog.BUILT_IN, "zeta"]
    assert catalog.choose(["all"]) == [*catalog.BUILT_IN, "zeta"]
    assert catalog.load("git") is Git
    assert catalog.load("zeta") is Collector


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("yprov_mlflow.prov.collectors.base:Quantity", "no subclass of Collector"),
        ("yprov_mlflow.prov.collectors.base:GROUP", "AttributeError"),
        ("there_is_no_such_module:Meter", "ModuleNotFoundError"),
    ],
)
def test_a_package_that_gives_no_collector(register, value, said):
    register("broken", value)
    with pytest.raises(CollectorError, match=said) as caught:
        catalog.load("broken")
    assert "choose -broken" in caught.value.cure
