import pytest

from yprov_mlflow.prov.collectors.gpu import visibility

ALL = ["a", "b", "c"]
NAMES = {
    "GPU-11aa": "a",
    "GPU-11bb": "b",
    "GPU-22cc": "c",
    "MIG-GPU-22cc/1/1": "m1",
    "MIG-GPU-22cc/1/10": "m10",
}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0,1,2", "a b c"),
        ("2,1", "c b"),
        ("1 , 2", "b c"),
        ("0,1,", "a b"),
        ("0,,1", "a"),
        ("0,x,1", "a"),
        ("1x", "b"),  # as C reads numbers
        ("3", ""),
        ("0,GPU-11aa", ""),  # twice the same
        ("GPU-2", "c"),
        ("gpu-22CC", "c"),
        ("GPU-1", ""),
        ("22cc", ""),
        ("MIG-GPU-22cc/1/1", "m1"),  # a whole name is not the beginning of another
        ("MIG-GPU-22cc/1/10", "m10"),
    ],
)
def test_parse_list(value, expected):
    assert visibility.parse_list(value, ALL, NAMES) == expected.split()


@pytest.mark.parametrize(
    ("value", "expected"),
    [("1,2", ["b", "c"]), ("0-1", ["a", "b"]), ("1,3", None), ("1,1", None), ("", None)],
)
def test_allocation_with_unknown_devices_is_ignored(value, expected):
    result = visibility.allocation({"SLURM_JOB_GPUS": value}, ["SLURM_JOB_GPUS"], ALL, NAMES)
    assert (result and result.devices) == expected


def test_source_variable():
    result = visibility.nvidia({"SLURM_STEP_GPUS": "2"}, ALL, NAMES)
    assert result == (["c"], "SLURM_STEP_GPUS=2")
    result = visibility.amd({"ROCR_VISIBLE_DEVICES": "1,2", "HIP_VISIBLE_DEVICES": "0"}, ALL, NAMES)
    assert result == (["b"], "ROCR_VISIBLE_DEVICES=1,2 HIP_VISIBLE_DEVICES=0")
