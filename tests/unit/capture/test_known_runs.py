import contextlib
import os

from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.file_store import FileStore

from yprov_mlflow.prov.capture.known_runs import KnownRun

KEYS = st.one_of(
    st.sampled_from(["a", "a/b", "a/b/c", "b", "", "../a", "/a", "a\n", "k" * 251, "é", "a:b"]),
    st.text(max_size=4),
)
METRICS = st.builds(
    Metric,
    KEYS,
    st.one_of(st.floats(), st.integers(), st.booleans(), st.none(), st.just("1")),
    st.one_of(st.integers(-1, 2**65), st.none()),
    st.one_of(st.integers(-(2**65), 2**65), st.floats(), st.none()),
)
PARAMS = st.builds(Param, KEYS, st.sampled_from(["1", "2", "x" * 7000]))
TAGS = st.builds(RunTag, KEYS, st.one_of(st.sampled_from(["1", "y" * 9000]), st.none()))


@given(st.lists(st.one_of(METRICS, PARAMS, TAGS), max_size=8))
@settings(max_examples=40)
def test_calls_that_are_certain_are_accepted_by_the_store(tmp_path_factory, items):
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    store = FileStore(str(tmp_path_factory.mktemp("store") / "mlruns"))
    run_id = store.create_run("0", "user", 1, [], "name").info.run_id
    known = KnownRun(store.get_run(run_id), on_files=True)
    for item in items:
        if isinstance(item, Metric):
            accepts, write = known.accepts_metric, store.log_metric
        elif isinstance(item, Param):
            accepts, write = known.accepts_param, store.log_param
        else:
            accepts, write = known.accepts_tag, store.set_tag
        with contextlib.suppress(MlflowException, TypeError):
            if accepts(item):
                _write(write, run_id, item)
                known.add(
                    [item] if isinstance(item, Param) else (),
                    [item] if isinstance(item, RunTag) else (),
                )


def _write(write, run_id, item):
    try:
        write(run_id, item)
    except Exception as error:
        raise AssertionError(f"{item!r} was certain, and raised {error!r}") from error
