"""Metric files."""

from __future__ import annotations

import hashlib
import time
from array import array

import pytest

from yprov_mlflow.prov.errors import DocumentError, MissingExtraError
from yprov_mlflow.prov.formats.metric_files import SERIES, digest, read_points
from yprov_mlflow.prov.formats.metric_files.array_files import CHUNK
from yprov_mlflow.prov.translate import PointBatch

LIBRARIES = {"zarr": "zarr", "netcdf": "netCDF4"}


def make_batch(size, first=0):
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
    for batch in batches:
        sink.write(batch)
    return sink.close()


def test_files_are_read_in_batches(series, tmp_path):
    sizes = [8192] * (CHUNK // 8192 + 1) + [100]
    batches = [make_batch(size, sum(sizes[:n])) for n, size in enumerate(sizes)]
    file = write(series, tmp_path, *batches)
    assert (file.path, file.media_type) == (series.file, series.media_type)
    assert (file.sha256, file.size) == digest(tmp_path / file.path)
    read = list(read_points(tmp_path / file.path))
    assert max(len(batch.series) for batch in read) <= 8192
    assert [step for batch in read for step in batch.step] == list(range(sum(sizes)))
    assert {type(batch.value) for batch in read} == {array}
    assert (read[0].epoch, read[0].model) == (batches[0].epoch, batches[0].model)


def test_bytes_do_not_depend_on_the_time(series, tmp_path):
    digests = set()
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        digests.add(write(series, tmp_path / name, make_batch(10)).sha256)
        time.sleep(1.1 if name == "first" else 0)
    assert len(digests) == 1


def test_lone_surrogates_are_replaced_as_in_documents(series, tmp_path):
    batch = make_batch(2)
    batch.series[1] = "a\ud800"
    (read,) = series.read(tmp_path / write(series, tmp_path, batch).path)
    assert read.series == ["loss", "a?"]


def test_broken_file_is_an_error(series, tmp_path):
    path = tmp_path / series.file
    path.write_bytes(b"no points at all")
    with pytest.raises(DocumentError, match=series.name):
        list(series.read(path))
    with pytest.raises(FileNotFoundError):
        list(series.read(tmp_path / "nowhere"))


def test_unknown_extension_error_lists_the_formats(tmp_path):
    with pytest.raises(DocumentError, match=r"metrics\.parquet"):
        read_points(tmp_path / "metrics.txt")


@pytest.mark.parametrize("name", LIBRARIES)
def test_missing_library_error_names_the_extra(name, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, LIBRARIES[name], None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'yprov-mlflow\[{name}\]'"):
        SERIES[name].sink(tmp_path)


def test_digest_of_a_folder_is_the_digest_of_its_listing(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c").write_bytes(b"1")
    (tmp_path / "a").write_bytes(b"22")
    lines = [f"{hashlib.sha256(b).hexdigest()}  {n}\n" for b, n in ((b"22", "a"), (b"1", "b/c"))]
    assert digest(tmp_path) == (hashlib.sha256("".join(lines).encode()).hexdigest(), 3)
