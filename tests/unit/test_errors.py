import pickle

import pytest

from yprov_mlflow.prov import errors

ERRORS = [
    errors.SettingsError.bad_value("YPROV_MLFLOW", "maybe", "1 or 0", "environment YPROV_MLFLOW"),
    errors.SettingsError.unknown("color", ["capture", "directory"], "argument"),
    errors.MissingExtraError.of("fsspec", "object-store", "s3://bucket"),
    errors.StoreError.failed("sqlite:///x.db", "no such table"),
    errors.RunNotFoundError.of("abc", "sqlite:///x.db"),
    errors.AmbiguousRunError.of_several("first", ["abc (first)", "def (first)"], None),
    errors.JournalError.unwritable("/full", "No space left on device"),
    errors.DeliveryError.no_journal("abc", "/state/journal/abc"),
    errors.DeliveryError.no_document("abc", "No such file."),
    errors.DocumentError.unopened("x.json", OSError(2, "No such file")),
    errors.DocumentError.unreadable("PROV-N", ValueError("line 3."), "x.provn"),
    errors.DocumentError.unwritable("RDF", KeyError(), "urn:uuid:1#record"),
    errors.DocumentError.compressed(),
    errors.DocumentError.unknown_format("notes.txt", "prov-json, prov-n"),
    errors.UsageError.not_single("Turtle", "several"),
    errors.StoreError.unreadable("mlruns", "permission denied"),
    errors.StoreError.no_scheduler("tcp://host:8786", "timed out"),
    errors.OutputError.unwritable("prov", OSError(28, "No space left on device")),
    errors.OutputError.not_uploaded("s3://bucket", "access denied"),
    errors.OutputError.foreign("prov/1/abc", "notes.txt"),
    errors.OutputError.in_use("prov"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_message_states_problem_place_and_cure(error):
    text = str(error)
    assert error.what in text
    assert error.where is None or error.where in text
    assert error.cure and text.endswith(f"{error.cure}.")
    assert ".." not in text


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_can_be_pickled(error):
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert (copy.what, copy.where, copy.cure) == (error.what, error.where, error.cure)


def test_missing_extra_error_names_the_install_command():
    error = errors.MissingExtraError.of("fsspec", "object-store", "s3://bucket")
    assert "pip install 'yprov-mlflow[object-store]'" in str(error)
    assert isinstance(error, ImportError)


def test_tree_in_module_docstring_matches_the_classes():
    drawn = errors.__doc__ or ""
    for name, value in vars(errors).items():
        if isinstance(value, type) and issubclass(value, errors.YprovMlflowError):
            (line,) = [row for row in drawn.splitlines() if f" {name} " in f" {row.strip()} "]
            base = value.__mro__[1]
            indent = line.index(name)
            above = drawn[: drawn.index(line)].splitlines()
            parents = [row for row in above if base.__name__ in row]
            assert base is Exception or parents[-1].index(base.__name__) == indent - 4
