import json
from collections import deque

from hypothesis import given
from hypothesis import strategies as st
from mlflow.entities import Metric, Param, RunTag
from mlflow.utils import validation

from yprov_mlflow.prov.capture.call_batches import Bulk, StoreCall, journaled_points, take

NAMES = st.sampled_from("abc")
ITEMS = st.one_of(
    st.builds(Metric, NAMES, st.floats(), st.just(1), st.integers(0, 9)),
    st.builds(Param, st.integers().map(str), st.text(max_size=9)),
    st.builds(RunTag, NAMES, st.text(max_size=9)),
    st.builds(StoreCall, st.just("delete_tag"), st.tuples(NAMES)),
)


def batches(items):
    waiting = deque(items)
    while waiting:
        yield take(waiting)


@given(st.lists(ITEMS, max_size=40), st.integers(1, 30))
def test_batches_have_every_item_in_order_and_within_limits(items, copies):
    items = [item for item in items for _ in range(copies)]
    taken = list(batches(items))
    written, tags = [], {}
    for batch in taken:
        if isinstance(batch, StoreCall):
            tags.pop(batch.args[0], None)
            continue
        written += batch.metrics
        tags.update({key: tag.value for key, tag in batch.tags.items()})
        validation._validate_batch_log_limits(
            batch.metrics, batch.params, list(batch.tags.values())
        )
        validation._validate_param_keys_unique(batch.params)
    assert list(map(id, written)) == [id(item) for item in items if isinstance(item, Metric)]
    expected = {}
    for item in items:
        if isinstance(item, RunTag):
            expected[item.key] = item.value
        elif isinstance(item, StoreCall):
            expected.pop(item.args[0], None)
    assert tags == expected
    params = {param.key for batch in taken if isinstance(batch, Bulk) for param in batch.params}
    assert params == {item.key for item in items if isinstance(item, Param)}


def test_batches_of_long_texts_stay_below_the_limit_of_a_request():
    params = [Param(f"p{i}", "é" * 6000) for i in range(100)]
    sizes = [len(json.dumps([p.value for p in b.params])) for b in batches(params)]
    assert max(sizes) < validation.MAX_BATCH_LOG_REQUEST_SIZE
    assert len(sizes) > 1


def test_parts_of_a_bulk_have_all_its_items_and_its_attempts():
    points = [Metric("m", float(i), 0, i) for i in range(5)]
    bulk = Bulk(points, [Param("p", "1")], {"t": RunTag("t", "x")}, attempts=3)
    parts = bulk.split()
    while any(smaller := [part.split() for part in parts]):
        parts = [p for part, split in zip(parts, smaller, strict=True) for p in split or [part]]
    assert all(len(part.items()) == 1 and part.attempts == 3 for part in parts)
    assert {id(item) for part in parts for item in part.items()} == set(map(id, bulk.items()))
    assert list(journaled_points([bulk])) == points
