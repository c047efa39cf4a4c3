"""Random file stores, descriptions and metric lines are read as they were written."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from support.builders.file_store_builder import (
    RUN,
    FileStoreBuilder,
    metric_lines,
    write_files,
    write_meta,
)
from support.readers.source_contents import SourceContents

from yprov_mlflow.prov.events import (
    ArtifactsLogged,
    InputsLogged,
    MetricsLogged,
    ModelLogged,
    OutputsLogged,
    RunCreated,
    RunUpdated,
)
from yprov_mlflow.prov.sources.file_store.meta import parse_plain
from yprov_mlflow.prov.sources.file_store.metric_lines import MetricFile
from yprov_mlflow.prov.sources.file_store.store_files import StoreFiles

slow_example = settings(
    max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None
)

# -- stores ------------------------------------------------------------------------------

_ODD = (
    "a b",
    "train loss",
    "%2F",
    "100%",
    "ünï",
    "☃",
    "-",
    "x.y",
    "~",
    "'",
    '"',
    "a:b",
    "back\\slash",
)
pieces = st.sampled_from((*_ODD, *"abc")) | st.text(
    st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1, max_size=8
).filter(lambda piece: piece not in (".", "..") and not piece.startswith("._"))
keys = st.lists(pieces, min_size=1, max_size=3).map("/".join)
texts = st.sampled_from(("", "0.1", "a\nb", "\r\n", " ", "nan")) | st.text(max_size=12)
whole = st.integers(0, 2**40) | st.integers(-(2**63), 2**63 - 1)
numbers = st.floats() | st.sampled_from((math.nan, math.inf, -math.inf, -0.0, 5e-324, 1e308))
values = numbers | st.integers(-(10**20), 10**20)
names = st.sampled_from(("iris", "my data")) | st.text("abc-é", min_size=1, max_size=5)
points = st.lists(
    st.tuples(whole, values, whole) | st.tuples(whole, values, whole, names, st.just("d0")),
    min_size=1,
    max_size=5,
)


def keyed(content):
    """Return a strategy for files of which none is the folder of another."""
    return st.dictionaries(keys, content, max_size=5).filter(_can_coexist)


def _can_coexist(files):
    folded = [key.casefold() for key in files]
    return len(set(folded)) == len(folded) and not any(
        other.startswith(f"{key}/") for key in folded for other in folded
    )


@slow_example
@given(
    params=keyed(texts),
    tags=keyed(texts),
    metrics=keyed(points),
    artifacts=keyed(st.binary(max_size=20)),
    fields=st.fixed_dictionaries(
        {
            "run_name": texts,
            "user_id": texts,
            "start_time": st.none() | whole,
            "end_time": st.none() | whole,
            "status": st.sampled_from((1, 3, 4, 5)),
            "lifecycle_stage": st.sampled_from(("active", "deleted")),
            "source_name": texts,
        }
    ),
)
def test_written_run_is_read_unchanged(params, tags, metrics, artifacts, fields):
    # PyYAML does not read all line separators of Unicode that it writes.
    fields = yaml.safe_load(yaml.safe_dump(fields, default_flow_style=False, allow_unicode=True))
    with tempfile.TemporaryDirectory() as folder:
        tree = FileStoreBuilder(Path(folder) / "mlruns")
        tree.run(params=params, tags=tags, metrics=metrics, artifacts=artifacts, **fields)
        reading = SourceContents(tree.root)
    assert reading.params() == params
    assert reading.tags() == tags
    created, updated = reading.single(RunCreated), reading.single(RunUpdated)
    assert (created.run_name, created.start_time_ms) == (fields["run_name"], fields["start_time"])
    assert created.user_id == fields["user_id"]
    assert created.fields.get("source_name", "") == fields["source_name"]
    assert updated.end_time_ms == fields["end_time"]
    assert (updated.lifecycle == "deleted") is (fields["lifecycle_stage"] == "deleted")
    _same_points(reading, metrics)
    files = [file for event in reading.select(ArtifactsLogged) for file in event.files]
    assert {file["path"]: file["size"] for file in files} == {
        k: len(v) for k, v in artifacts.items()
    }


def _same_points(reading, metrics):
    read = {}
    for event in reading.select(MetricsLogged):
        datasets = event.datasets or [None] * len(event.keys)
        rows = zip(event.timestamps_ms, event.values, event.steps, datasets, strict=True)
        read.setdefault(event.keys[0], []).extend((t, repr(v), s, d) for t, v, s, d in rows)
    written = {
        key: [(t, repr(float(v)), s, tuple(dataset) or None) for t, v, s, *dataset in rows]
        for key, rows in metrics.items()
    }
    assert read == written


@slow_example
@given(
    datasets=st.lists(
        st.fixed_dictionaries({"name": names, "digest": names, "schema": st.none() | texts}),
        max_size=3,
    ),
    context=texts.filter(lambda text: "\x85" not in text),
    params=keyed(texts),
    rows=st.lists(st.tuples(whole, numbers, whole), min_size=1, max_size=6),
    share=st.sets(st.integers(0, 5)),
)
def test_models_and_datasets_are_read_unchanged(datasets, context, params, rows, share):
    with tempfile.TemporaryDirectory() as folder:
        tree = FileStoreBuilder(Path(folder) / "mlruns")
        run = tree.run(metrics={"m": rows})
        for number, dataset in enumerate(datasets):
            write_meta(tree.root / f"0/datasets/d{number}/meta.yaml", **dataset)
            linked = {"source_type": "DATASET", "source_id": f"d{number}", "tags": {"c": context}}
            write_meta(run / f"inputs/i{number}/meta.yaml", **linked)
        of_model = [(*row, run.name) for number, row in enumerate(rows) if number in share]
        model = tree.model("m-1", run, metrics={"m": of_model} if of_model else {})
        write_files(model / "params", params)
        write_meta(run / "outputs/m-1/meta.yaml", destination_id="m-1", step=len(rows))
        reading = SourceContents(tree.root)
    inputs = [d for event in reading.select(InputsLogged) for d in event.datasets]
    assert [(d["name"], d["digest"], d["tags"]) for d in inputs] == [
        (d["name"], d["digest"], {"c": context})
        for d in sorted(datasets, key=lambda d: (d["name"], d["digest"]))
    ]
    assert reading.single(ModelLogged).params == params
    assert reading.single(OutputsLogged).models == [("m-1", len(rows))]
    (event,) = reading.select(MetricsLogged)
    assert len([model for model in event.models or () if model]) == len(of_model)
    assert reading.problems == []


# -- descriptions ------------------------------------------------------------------------

described = st.dictionaries(
    st.sampled_from(("run_id", "name", "y", "on", "null", "status", "a b", "3")) | names,
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | texts
    | st.sampled_from(
        ("0b10", "0x1f", "1e5", "1_000", "12:30", "2020-01-01", "=", "~", "yes", "No")
    )
    | st.sampled_from(("a: b", "a #b", "#a", "'", "''", "a'b", "- x", "&a", "*a", "!x", "%x", "@x"))
    | st.from_regex(r"[0-9a-f]{32}", fullmatch=True)
    | st.from_regex(r"[A-Za-z/.][\w./: ,@+=%()-]{0,12}", fullmatch=True)
    | st.from_regex(r"file:///[\w./: %-]{0,12}", fullmatch=True)
    | st.just([])
    | st.just({}),
    min_size=1,
    max_size=5,
)


def _loaded(data):
    try:
        return yaml.load(data, yaml.CSafeLoader)
    except (yaml.YAMLError, ValueError):
        return "not YAML"


@settings(max_examples=150)
@given(described)
def test_parse_plain_equals_pyyaml(fields):
    data = yaml.safe_dump(fields, default_flow_style=False, allow_unicode=True).encode()
    values = parse_plain(data)
    assert values is None or repr(values) == repr(_loaded(data))


unquoted = st.tuples(
    st.from_regex(r"[A-Za-z_]\w{0,6}", fullmatch=True),
    st.text("ab019 :#'\"[]{}/.-_,&*!|>%@`=~\t\r\x85é", max_size=10)
    | st.from_regex(r"[0-9a-f]{32}|0[bxo]?[01]{1,30}|[-+]?[0-9_.:e]{1,12}", fullmatch=True),
)


@settings(max_examples=250)
@given(st.lists(unquoted, min_size=1, max_size=3))
def test_parse_plain_equals_pyyaml_for_unusual_values(fields):
    data = "".join(f"{key}: {value}\n" for key, value in fields).encode()
    values = parse_plain(data)
    assert values is None or repr(values) == repr(_loaded(data))


def test_parse_plain_accepts_files_of_mlflow(tmp_path):
    folder = FileStoreBuilder(tmp_path / "mlruns").run(
        artifact_uri=f"mlflow-artifacts:/0/{RUN}0/artifacts"
    )
    for path in (folder / "meta.yaml", folder.parent / "meta.yaml"):
        values = parse_plain(path.read_bytes())
        assert values == yaml.safe_load(path.read_bytes())


@given(st.binary(max_size=60))
def test_any_bytes_are_a_description_or_a_problem(data):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "meta.yaml"
        path.write_bytes(data)
        files = StoreFiles(folder)
        values = files.meta(str(path))
        assert values or files.problems()


# -- lines of metrics --------------------------------------------------------------------

tokens = (
    st.integers(-(2**64), 2**64).map(str)
    | st.floats().map(repr)
    | st.sampled_from(("-0", "-0.0", "1e5", "1E400", "007", "+5", ".5", "5.", "1_0", "nan", "-inf"))
    | st.sampled_from(("", "-", "e", "[1]", "true", "null", '"a"', "Infinity", "x", "1,2", "٣"))
)
rows_of_tokens = st.lists(st.lists(tokens, min_size=1, max_size=6), min_size=1, max_size=6)


def _expected(row):
    """Parse a line as MLflow does, except that the dataset's name may have spaces."""
    parts = " ".join(row).strip().split(" ")
    if parts == [""] or len(parts) < 2:
        return None
    try:
        stamp, value = _whole(parts[0]), float(parts[1].encode())
        step = _whole(parts[2]) if len(parts) > 2 else 0
    except (ValueError, OverflowError):
        return None
    if len(parts) == 2 and 10**8 <= stamp < 10**11:
        stamp *= 1000
    dataset = (" ".join(parts[3:-1]), parts[-1]) if len(parts) > 4 else None
    return stamp, repr(value), step, dataset


def _whole(token):
    try:
        return int(token.encode())
    except ValueError:
        return int(float(token.encode()))


@settings(max_examples=150)
@given(rows_of_tokens, st.sampled_from(("\n", "\r\n")))
def test_bulk_parsing_equals_parsing_each_line(rows, end):
    text = "".join(" ".join(row) + end for row in rows)
    assume("\n" not in "".join("".join(row) for row in rows))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m"
        path.write_bytes(text.encode())
        file = MetricFile(StoreFiles(folder), str(path))
        points = [
            (stamp, repr(value), step, dataset)
            for columns in file.columns()
            for stamp, value, step, dataset, _ in columns.rows()
        ]
    assert points == [point for row in rows if (point := _expected(row)) is not None]


@given(st.lists(st.tuples(whole, st.floats(), whole), min_size=1, max_size=50))
def test_doubles_are_read_exactly(rows):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m"
        path.write_text(metric_lines(rows))
        columns = list(MetricFile(StoreFiles(folder), str(path)).columns())
    read = [row[:3] for block in columns for row in block.rows()]
    assert repr(read) == repr(rows)


# -- damaged stores ----------------------------------------------------------------------


def _write_full_store(root: Path) -> None:
    """Write a store with each kind of file."""
    tree = FileStoreBuilder(root)
    tree.experiment("7", trash=True, tags={"k": "v"})
    run = tree.run(1, params={"a/b": "1"}, tags={"t": "v"}, metrics={"m": [(1, 2.0, 3)]})
    write_files(run / "artifacts", {"model/MLmodel": "x"})
    tree.run(2, experiment=".trash/7")
    model = tree.model("m-1", run, metrics={"m": [(1, 2.0, 3, run.name)]})
    write_files(model / "params", {"p": "1"})
    write_meta(tree.root / "0/datasets/d0/meta.yaml", name="iris", digest="d")
    linked = {"source_type": "DATASET", "source_id": "d0", "tags": {"c": "eval"}}
    write_meta(run / "inputs/i0/meta.yaml", **linked)
    write_meta(run / "outputs/m-1/meta.yaml", destination_id="m-1", step=1)
    write_meta(tree.root / "models/net/meta.yaml", name="net", aliases={"c": "1"})
    write_meta(tree.root / "models/net/version-1/meta.yaml", name="net", version=1)
    trace = tree.root / "0/traces/tr-1"
    write_meta(trace / "trace_info.yaml", trace_id="tr-1", request_time="2026-01-01T00:00:00Z")
    write_files(trace / "request_metadata", {"mlflow.sourceRun": run.name})
    write_files(
        trace / "artifacts", {"traces.json": '{"spans": [{"name": "s", "attributes": {}}]}'}
    )
    write_meta(trace / "assessments/a-1.yaml", assessment_id="a-1", feedback={"value": 1})


faults = st.sampled_from(("remove", "cut", "replace", "folder", "empty", "lfs", "insert", "link"))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 99), faults, st.binary(max_size=12)), max_size=6))
def test_no_damaged_file_raises(chosen):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "mlruns"
        _write_full_store(root)
        paths = sorted(path for path in root.rglob("*") if path.is_file())
        for number, fault, content in chosen:
            path = paths[number % len(paths)]
            if path.is_file() and not path.is_symlink():
                _damage(path, fault, content)
        reading = SourceContents(root)
    assert all(event.seq == i for run in reading.runs.values() for i, event in enumerate(run))


def _damage(path: Path, fault: str, content: bytes) -> None:
    data = path.read_bytes()
    middle = len(data) // 2
    if fault == "cut":
        path.write_bytes(data[:middle])
    elif fault == "insert":
        path.write_bytes(data[:middle] + content + data[middle:])
    elif fault in ("replace", "empty", "lfs"):
        pointer = b"version https://git-lfs.github.com/spec/v1\n"
        path.write_bytes({"replace": content, "empty": b"", "lfs": pointer}[fault])
    else:
        path.unlink()
        if fault == "folder":
            path.mkdir()
        elif fault == "link":
            path.symlink_to(path.parent)
