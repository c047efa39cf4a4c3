"""Side files of points."""

from __future__ import annotations

import hashlib
import time
from array import array

import pytest

from yprov_mlflow.prov.errors import DocumentError, MissingExtraError
from yprov_mlflow.prov.formats.metric_files import SERIES, digest, read_points
from yprov_mlflow.prov.formats.metric_files.coded import CHUNK
from yprov_mlflow.prov.translate import PointBatch

LIBRARIES = {"zarr": "zarr", "netcdf": "netCDF4"}


def batch(size, first=0):
    return PointBatch(
        series=["loss"] * size,
        context=["training"] * size,
        epoch=[None if n % 2 else n for n in range(size)],
        value=array("d", map(float, range(size))),
        step=array("q", range(first, first + size)),
        timestamp_ms=array("q", [2**63 - 1]) * size,
        time_ns=array("q", [-(2**63)]) * size,
        session=["s"] * size,
        model=[None] * size,
        dataset_name=[None] * size,
        dataset_digest=["d"] * size,
    )


@pytest.fixture(params=SERIES)
def series(request):
    pytest.importorskip(LIBRARIES.get(request.param, "pyarrow"))
    return SERIES[request.param]


def write(series, folder, *batches):
    sink = series.sink(folder)
    assert list(folder.iterdir()) == []
    for one in batches:
        sink.write(one)
    return sink.close()


def test_a_file_is_read_in_batches(series, tmp_path):
    sizes = [8192] * (CHUNK // 8192 + 1) + [100]
    told = [batch(size, sum(sizes[:n])) for n, size in enumerate(sizes)]
    file = write(series, tmp_path, *told)
    assert (file.path, file.media_type) == (series.file, series.media_type)
    assert (file.sha256, file.size) == digest(tmp_path / file.path)
    found = list(read_points(tmp_path / file.path))
    assert max(len(one.series) for one in found) <= 8192
    assert [step for one in found for step in one.step] == list(range(sum(sizes)))
    assert [type(one.value) for one in found] == [array] * len(found)
    assert found[0].epoch == told[0].epoch and found[0].model == told[0].model


def test_the_hour_is_not_in_the_bytes(series, tmp_path):
    digests = set()
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        digests.add(write(series, tmp_path / name, batch(10)).sha256)
        time.sleep(1.1 if name == "first" else 0)
    assert len(digests) == 1


def test_half_a_character_is_replaced_as_in_documents(series, tmp_path):
    told = batch(2)
    told.series[1] = "a\ud800"
    (found,) = series.read(tmp_path / write(series, tmp_path, told).path)
    assert found.series == ["loss", "a?"]


def test_a_broken_file_is_said_to_be_one(series, tmp_path):
    path = tmp_path / series.file
    path.write_bytes(b"no points at all")
    with pytest.raises(DocumentError, match=series.name):
        list(series.read(path))
    with pytest.raises(FileNotFoundError):
        list(series.read(tmp_path / "nowhere"))


def test_a_file_of_another_kind_is_told_which_there_are(tmp_path):
    with pytest.raises(DocumentError, match=r"metrics\.parquet"):
        read_points(tmp_path / "metrics.txt")


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_missing_library_is_named_with_its_cure(name, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, LIBRARIES[name], None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'yprov-mlflow\[{name}\]'"):
        SERIES[name].sink(tmp_path)


def test_the_digest_of_a_folder_is_that_of_its_listing(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c").write_bytes(b"1")
    (tmp_path / "a").write_bytes(b"22")
    lines = [f"{hashlib.sha256(b).hexdigest()}  {n}\n" for b, n in ((b"22", "a"), (b"1", "b/c"))]
    assert digest(tmp_path) == (hashlib.sha256("".join(lines).encode()).hexdigest(), 3)
