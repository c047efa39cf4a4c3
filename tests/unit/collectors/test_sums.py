import pytest

from yprov_mlflow.prov.collectors.sums import Total


@pytest.mark.parametrize(
    ("readings", "totals"),
    [
        ([100, 105, 107], [0, 5, 7]),
        ([100, None, 103], [0, None, 3]),
        ([None, 100, 101], [None, 0, 1]),
        # A child's 50 are with nobody for a moment, then with its parent.
        ([100, 160, 110, 165], [0, 60, 60, 65]),
        ([100, 160, 110, 165, 120, 170], [0, 60, 60, 65, 65, 70]),
        # They are gone for good: what comes after counts again.
        ([100, 160, 110, 112, 120], [0, 60, 60, 60, 68]),
        ([100, 160, 110, 112, 50, 55, 60], [0, 60, 60, 60, 60, 60, 65]),
    ],
)
def test_totals(readings, totals):
    total = Total()
    assert [total.of(reading) for reading in readings] == totals
