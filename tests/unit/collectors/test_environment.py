import importlib.metadata
import json
import platform
import re
import sys
import time

from yprov_mlflow.prov.collectors import environment


def test_facts_are_json():
    facts = environment.collect()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["python"] == platform.python_version()
    assert facts["implementation"] == platform.python_implementation()
    assert facts["prefix"] in {"conda", "venv", "system"}
    assert set(facts) == {
        "python",
        "implementation",
        "platform",
        "prefix",
        "container",
        "packages",
        "local",
    }


def test_packages_equal_importlib_metadata():
    result = environment.packages(sys.path)
    expected = {}
    for distribution in importlib.metadata.distributions():
        name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower()
        expected.setdefault(name, distribution.version)
    assert result == expected
    assert list(result) == sorted(result)


def test_names_are_normalized_and_first_path_entry_wins(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, names in (
        (first, ["Zope.Interface-6.1.dist-info", "ruamel_yaml-0.18.5+local.1.dist-info"]),
        (second, ["zope_interface-5.0.dist-info", "PyYAML-5.3-py3.8-linux-x86_64.egg-info"]),
    ):
        for name in names:
            (folder / name).mkdir(parents=True)
    (second / "~umpy-1.0.dist-info").mkdir()  # what pip leaves of a removal cut short
    (second / "numpy.py").touch()
    (second / "mine.egg-info").mkdir()
    (second / "mine.egg-info" / "PKG-INFO").write_text("Name: mine\nVersion: 3.0\n")
    (second / "bare.egg-info").mkdir()
    assert environment.packages([str(first), str(second), str(tmp_path / "gone")]) == {
        "mine": "3.0",
        "pyyaml": "5.3",
        "ruamel-yaml": "0.18.5+local.1",
        "zope-interface": "6.1",
    }


def test_origins_of_packages_of_no_index(tmp_path):
    origins = {
        "lab": {"url": "file:///home/ada/lab", "dir_info": {"editable": True}},
        "tool": {
            "url": "https://ada:secret@example.org/tool.git",
            "vcs_info": {"vcs": "git", "commit_id": "0" * 40},
        },
    }
    for name in ("lab", "tool", "numpy", "broken"):
        (tmp_path / f"{name}-1.0.dist-info").mkdir()
    for name, content in origins.items():
        (tmp_path / f"{name}-1.0.dist-info/direct_url.json").write_text(json.dumps(content))
    (tmp_path / "broken-1.0.dist-info/direct_url.json").write_text("{")
    assert environment.local_packages([str(tmp_path), str(tmp_path / "gone")]) == {
        "broken": "unknown",
        "lab": "file:///home/ada/lab",
        "tool": f"git+https://example.org/tool.git@{'0' * 40}",
    }


def test_500_packages_take_milliseconds(tmp_path):
    for number in range(500):
        (tmp_path / f"package_{number}-1.0.dist-info").mkdir()
    times = []
    for _ in range(5):
        start = time.perf_counter()
        assert len(environment.packages([str(tmp_path)])) == 500
        times.append(time.perf_counter() - start)
    assert min(times) < 0.02


def test_conda(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert environment.collect()["prefix"] == "venv"
    (tmp_path / "conda-meta").mkdir()
    assert environment.collect()["prefix"] == "conda"
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    assert environment.collect()["prefix"] == "system"
