"""Secrets are withheld, URIs lose their passwords, and there is one list of secrets."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path

import pytest

from yprov_mlflow.prov.redaction import (
    WITHHELD,
    is_secret,
    manages_secrets,
    redact,
    redact_field,
)

PACKAGE = Path(importlib.util.find_spec("yprov_mlflow").origin).parent
SECRET_WORDS = re.compile(r"password|passwd|credential|api_?key|secret\b|secret\|", re.IGNORECASE)


@pytest.mark.parametrize(
    ("uri", "redacted"),
    [
        ("postgresql+psycopg2://me:pa55@db:5432/runs", "postgresql+psycopg2://db:5432/runs"),
        ("mysql://me:p#w/d@db/runs", "mysql://db/runs"),
        ("https://token@host/path", "https://host/path"),
        ("https://me:a@b@host/path", "https://host/path"),
        ("mssql://h/d?driver=x&password=hush&y=1", "mssql://h/d?driver=x&password=&y=1"),
        ("mssql://h/d?a=1;pwd=hu;sh&y=1", "mssql://h/d?a=1;pwd=&y=1"),
        ("https://h/a?X-Amz-Security-Token=ab&v=2", "https://h/a?X-Amz-Security-Token=&v=2"),
        ("https://h/a?sv=2024&sig=a%2Bb", "https://h/a?sv=2024&sig="),
        ("https://h/a?client_secret_value=ab", "https://h/a?client_secret_value="),
        ("s3://bucket/a@b/c", "s3://bucket/a@b/c"),
        ("http://host:8080/x@y", "http://host:8080/x@y"),
        ("http://host/a?tokens=3&page=2", "http://host/a?tokens=3&page=2"),
        ("file:///home/me/mlruns", "file:///home/me/mlruns"),
        ("see http://me:pa55@host for more", "see http://host for more"),
        ("write to me@example.org", "write to me@example.org"),
        ("sqlite:///mlflow.db", "sqlite:///mlflow.db"),
    ],
)
def test_redact_removes_only_user_password_and_secret_parameters(uri: str, redacted: str) -> None:
    assert redact(uri) == redacted


@pytest.mark.parametrize("piece", ["a", "://", "http://", "http://a:b", "a@", " a://b:", "&", "?a"])
def test_redact_takes_linear_time_for_long_text(piece: str) -> None:
    """Quadratic time would be a quarter of an hour and more."""
    text = piece * (1_000_000 // len(piece))
    assert redact(text + " end") == text + " end"
    assert redact(text + "@host").endswith("host")


@pytest.mark.parametrize(
    "name",
    [
        "secret_value",
        "encrypted_value",
        "wrapped_dek",
        "auth_config_json",
        "api_key",
        "OPENAI_API_KEY",
        "db_password",
        "passwd",
        "credentials",
        "token",
        "access_token",
        "token_hash",
    ],
)
def test_values_of_secret_fields_are_withheld(name: str) -> None:
    assert is_secret(name)
    assert redact_field(name, {"value": "hunter2"}) == WITHHELD
    assert redact_field(name, None) is None


@pytest.mark.parametrize("name", ["secret_id", "secret_name", "token_count", "tokens", "name"])
def test_ids_names_and_counts_of_secrets_are_recorded(name: str) -> None:
    assert redact_field(name, "s-1") == "s-1"


def test_uri_fields_are_redacted() -> None:
    assert redact_field("artifact_uri", "s3://me:pa55@host/a") == "s3://host/a"
    assert redact_field("text", "s3://me:pa55@host/a") == "s3://me:pa55@host/a"


def test_methods_that_manage_secrets() -> None:
    assert manages_secrets("create_gateway_secret")
    assert manages_secrets("get_secret_by_name")
    assert manages_secrets("create_webhook")
    assert not manages_secrets("create_model_version")


def test_no_other_module_has_a_pattern_or_a_marker_of_secrets() -> None:
    others = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.name == "redaction.py":
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and node.value == WITHHELD:
                others.append(f"{path.name}:{node.lineno}")
            compiles = isinstance(node, ast.Call) and ast.unparse(node.func) in (
                "re.compile",
                "compile",
            )
            if compiles and SECRET_WORDS.search(ast.unparse(node.args[0])):
                others.append(f"{path.name}:{node.lineno}")
    assert not others, "secrets are listed in redaction.py only"
