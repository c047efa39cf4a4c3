"""URIs lose their secrets and nothing else."""

from __future__ import annotations

import pytest

from yprov_mlflow.prov.ids import redact


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("postgresql+psycopg2://me:pa55@db:5432/runs", "postgresql+psycopg2://db:5432/runs"),
        ("mysql://me:p#w/d@db/runs", "mysql://db/runs"),
        ("https://token@host/path", "https://host/path"),
        ("https://me:a@b@host/path", "https://host/path"),
        ("mssql://h/d?driver=x&password=hush&y=1", "mssql://h/d?driver=x&password=&y=1"),
        ("s3://bucket/a@b/c", "s3://bucket/a@b/c"),
        ("http://host:8080/x@y", "http://host:8080/x@y"),
        ("file:///home/me/mlruns", "file:///home/me/mlruns"),
        ("see http://me:pa55@host for more", "see http://host for more"),
        ("write to me@example.org", "write to me@example.org"),
        ("sqlite:///mlflow.db", "sqlite:///mlflow.db"),
    ],
)
def test_user_and_password_go_and_the_rest_stays(uri: str, shown: str) -> None:
    assert redact(uri) == shown


@pytest.mark.parametrize("piece", ["a", "://", "http://", "http://a:b", "a@", " a://b:"])
def test_long_text_that_is_no_uri_does_not_hold_up_a_run(piece: str) -> None:
    """A quarter of an hour and more, if the time went with the square of the length."""
    text = piece * (1_000_000 // len(piece))
    assert redact(text + " end") == text + " end"
    assert redact(text + "@host").endswith("host")
