"""Secrets are withheld, URIs lose their passwords, and there is one list of secrets."""

from __future__ import annotations

import ast
import importlib.util
import re
import string
import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yprov_mlflow.prov.redaction import (
    WITHHELD,
    is_secret,
    manages_secrets,
    redact,
    redact_arguments,
    redact_content,
    redact_event,
    redact_field,
)

PACKAGE = Path(importlib.util.find_spec("yprov_mlflow").origin).parent
SECRET_WORDS = re.compile(r"password|passwd|credential|api_?key|secret\b|secret\|", re.IGNORECASE)
W = WITHHELD


@pytest.mark.parametrize(
    ("uri", "redacted"),
    [
        ("postgresql+psycopg2://me:pa55@db:5432/runs", "postgresql+psycopg2://db:5432/runs"),
        ("mysql://me:p#w/d@db/runs", "mysql://db/runs"),
        ("mysql://me:p w@db/runs", "mysql://db/runs"),
        ("https://token@host/path", "https://host/path"),
        ("https://me:a@b@host/path", "https://host/path"),
        ("redis://:pa55@host:6379/0", "redis://host:6379/0"),
        ("git+https://me:pa55@host/r.git@main#egg=r", "git+https://host/r.git@main#egg=r"),
        ("mssql://h/d?driver=x&password=hush&y=1", f"mssql://h/d?driver=x&password={W}&y=1"),
        ("mssql://h/d?a=1;pwd=hu;sh&y=1", f"mssql://h/d?a=1;pwd={W}&y=1"),
        ("https://h/a?X-Amz-Security-Token=ab&v=2", f"https://h/a?X-Amz-Security-Token={W}&v=2"),
        ("https://h/a?X%2DAmz%2DSignature=ab&v=2", f"https://h/a?X%2DAmz%2DSignature={W}&v=2"),
        (
            "https://h/a?AWSAccessKeyId=AB&Signature=c",
            f"https://h/a?AWSAccessKeyId={W}&Signature={W}",
        ),
        (
            "https://h/a?X-Goog-Credential=ab&X-Goog-Date=2",
            f"https://h/a?X-Goog-Credential={W}&X-Goog-Date=2",
        ),
        ("https://h/a?sv=2024&sig=a%2Bb", f"https://h/a?sv=2024&sig={W}"),
        ("https://h/a?client_secret_value=ab", f"https://h/a?client_secret_value={W}"),
        ("https://h/a?verify=1700000000-ab%3D", f"https://h/a?verify={W}"),
        ("https://h/a?key=AbC123&code=x1y2z3==", f"https://h/a?key={W}&code={W}"),
        ("https://h/a#access_token=ab&v=2", f"https://h/a#access_token={W}&v=2"),
        ("https://h/?to=https%3A%2F%2Fme%3Apa55%40h%2Fx", "https://h/?to=https%3A%2F%2Fh%2Fx"),
        ("https://hooks.slack.com/services/T0/B0/ab", f"https://hooks.slack.com/services/{W}"),
        ('{"url": "https://me:pa55@h/a?sig=ab"}', f'{{"url": "https://h/a?sig={W}"}}'),
        ('{"a": "{\\"url\\": \\"h?sig=ab\\"}"}', f'{{"a": "{{\\"url\\": \\"h?sig={W}\\"}}"}}'),
        ("see http://me:pa55@host for more", "see http://host for more"),
        ("fatal: no 'https://me:pa55@h/r'", "fatal: no 'https://h/r'"),
        ("s3://bucket/a@b/c", "s3://bucket/a@b/c"),
        (
            "abfss://container@account.dfs.core.windows.net/a",
            "abfss://container@account.dfs.core.windows.net/a",
        ),
        ("dbfs://profile:prefix@databricks/a", "dbfs://profile:prefix@databricks/a"),
        ("docker://ubuntu:22.04@sha256:e3b0c442", "docker://ubuntu:22.04@sha256:e3b0c442"),
        ("git+https://host/r.git@3f786850e387", "git+https://host/r.git@3f786850e387"),
        ("http://host:8080/x@y", "http://host:8080/x@y"),
        ("http://host/a?tokens=3&page=2", "http://host/a?tokens=3&page=2"),
        ("https://h/get?key=data/train.csv&code=49", "https://h/get?key=data/train.csv&code=49"),
        ("https://h/get?key=iris&code=US", "https://h/get?key=iris&code=US"),
        ("http://h:5000, or write to me@example.org", "http://h:5000, or write to me@example.org"),
        ("file:///home/me/mlruns", "file:///home/me/mlruns"),
        ("write to me@example.org", "write to me@example.org"),
        ("git@github.com:me/r.git", "git@github.com:me/r.git"),
        ("sqlite:///mlflow.db", "sqlite:///mlflow.db"),
    ],
)
def test_redact_removes_only_user_password_and_secret_parameters(uri: str, redacted: str) -> None:
    assert redact(uri) == redacted


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("run --api-key ab --lr 0.1", f"run --api-key {W} --lr 0.1"),
        ("--token ab", f"--token {W}"),
        ("HF_TOKEN=ab python t.py", f"HF_TOKEN={W} python t.py"),
        ("Authorization: Bearer ab", f"Authorization: {W}"),
        ("curl -H 'X-Api-Key: ab' h", f"curl -H 'X-Api-Key: {W}' h"),
        ("AccountName=x;AccountKey=ab==;v=1", f"AccountName=x;AccountKey={W};v=1"),
        ("DRIVER={ODBC 17};UID=sa;PWD=ab", f"DRIVER={{ODBC 17}};UID=sa;PWD={W}"),
        ("{'password': 'a\\'b', 'x': 1}", f"{{'password': '{W}', 'x': 1}}"),
        ('{"api_key": 12345, "x": 1}', f'{{"api_key": "{W}", "x": 1}}'),
        ('{"password": "a text that was cut\\', f'{{"password": "{W}"'),
        ("Config(password='ab', lr=1)", f"Config(password='{W}', lr=1)"),
        ("id AKIAABCDEFGHIJKLMNOP", f"id {W}"),
        ("ghp_0123456789abcdefghijABCDEFGHIJ012345", W),
        ("hf_abcdefghijABCDEFGHIJabcdefghij0123", W),
        ("sk-proj-abcdef0123456789abcdef", W),
        ("eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl", W),
        ("-----BEGIN RSA PRIVATE KEY-----\nab\n-----END RSA PRIVATE KEY-----\n", f"{W}\n"),
    ],
)
def test_redact_withholds_values_of_secret_names_and_known_tokens(text: str, redacted: str) -> None:
    assert redact(text) == redacted


@pytest.mark.parametrize(
    "text",
    [
        "max_tokens=5",
        "pad_token='<pad>', eos_token='</s>'",
        "token_accuracy=0.3",
        "token=512",
        "password=None",
        "use_auth_token=True",
        "the password: it is good",
        "detect-secrets==1.5.0; tokenizers>=0.15",
        '{"mlflow_colspec": [{"type": "string", "name": "password"}]}',
        '{"token": {"dtype": "int64"}, "password": "string"}',
        "--num-tokens 5 --sort-key date",
        "--initializer_token toy --use_auth_token train.py",
        "secretion='high', secreted_proteins='all'",
        "PWD=/home/me",
        "keys=a,b; monkey=1; keyboard=2; author=me; secretary=you; primary_key='id'",
        "sk-learn-random-forest-classifier-with-many-trees",
        "hf_LlamaForSequenceClassification",
    ],
)
def test_redact_keeps_what_only_resembles_a_secret(text: str) -> None:
    assert redact(text) == text
    assert redact_field("", {"text": [text]}) == {"text": [text]}


@given(st.binary(min_size=16, max_size=64), st.sampled_from(["", "sha256:", "commit ", "run="]))
def test_redact_keeps_digests_commits_and_uuids(digest: bytes, before: str) -> None:
    for text in (digest.hex(), str(uuid.UUID(bytes=digest[:16]))):
        assert redact(before + text) == before + text
        assert redact(f"s3://b/{text}/artifacts?v={text}").count(text) == 2


SECRETS = st.text(string.ascii_letters + string.digits + "-._~+=!$*", min_size=8, max_size=40).map(
    lambda text: f"Zq{text}9"
)
PLACES = (
    "https://{}@host/x",
    "https://me:{}@host/x",
    "https://host/x?a=1&X-Amz-Signature={}&b=2",
    "https://host/x#token={}",
    "{{'source': 'https://host/x?sig={}'}}",
    "cannot connect to postgresql://me:{}@host/db (timeout)",
    'json: {{"client_secret": "{}", "n": 1}}',
    "run --db-password {} --n 1",
    "WANDB_API_KEY={}",
)


@given(SECRETS, st.sampled_from(PLACES), st.text(max_size=20))
def test_no_secret_stays_and_redacting_again_changes_nothing(
    secret: str, place: str, before: str
) -> None:
    redacted = redact(f"{before} {place.format(secret)}")
    assert secret not in redacted
    assert redact(redacted) == redacted


@given(st.text(max_size=200))
def test_redacting_again_changes_nothing(text: str) -> None:
    assert redact(redact(text)) == redact(text)


def test_arguments_of_a_command_line() -> None:
    arguments = {
        "t.py": "t.py",
        "--password=a b": f"--password={W}",
        "--api-key": "--api-key",
        "ab": W,
        "db.password=a b": f"db.password={W}",
        "HF_TOKEN=ab": f"HF_TOKEN={W}",
        "--use-auth-token": "--use-auth-token",
        "config.yaml": "config.yaml",
        "--pad-token=<pad>": "--pad-token=<pad>",
        "--max-tokens": "--max-tokens",
        "5": "5",
        "-p": "-p",
        "80": "80",
        "https://me:pa55@h/": "https://h/",
        "--hub-token": "--hub-token",
        "None": "None",
        "--pass": "--pass",
        "xy": W,
    }
    assert redact_arguments([*arguments]) == [*arguments.values()]


def test_event_is_redacted_except_where_others_look_it_up() -> None:
    uri, clean = "https://me:pa55@h/x?sig=ab", f"https://h/x?sig={W}"
    params = {"url": uri, "hub_token": "ab12", "pad_token": "<pad>", "n": "1"}
    expected = {"url": clean, "hub_token": W, "pad_token": "<pad>", "n": "1"}
    assert redact_event("params", (params,)) == (expected,)
    files = ([{"path": "a?sig=ab", "size": 1, "sha256": None}],)
    assert redact_event("artifacts", files) is files
    facts = {"argv": ["t.py", "--token", "ab"], "packages": {"detect-secrets": "1.5"}}
    expected_facts = {"argv": ["t.py", "--token", W], "packages": {"detect-secrets": "1.5"}}
    assert redact_event("session", (facts,)) == (expected_facts,)


def test_names_mean_nothing_in_content_of_users_and_models() -> None:
    span = {"attributes": {"password": "see https://me:pa55@h", "note": "password=ab"}}
    clean = {"attributes": {"password": "see https://h", "note": "password=ab"}}
    call = ("log_spans", {"trace": "t"}, {"spans": [span]}, [span])
    assert redact_event("call", call) == (*call[:2], {"spans": [clean]}, [clean])
    assert redact_content("password=ab") == "password=ab"
    tag = {"key": "api_key", "value": "ab"}
    created = redact_event("call", ("create_registered_model", {}, {"tags": [tag]}, None))
    assert created[2] == {"tags": [{"key": "api_key", "value": W}]}
    rows = ("record_secrets", {}, {"rows": [{"encrypted_value": "ab"}]}, None)
    assert redact_event("call", rows)[2] == {"rows": [{"encrypted_value": W}]}


def test_deeply_nested_value_does_not_exhaust_the_stack() -> None:
    value: object = "https://me:pa55@h"
    for _ in range(5000):
        value = [value]
    assert "pa55" not in str(redact_field("", value))


@pytest.mark.parametrize(
    "piece",
    [
        *("a", "://", "http://", "http://a:b", "a@", " a://b:", "&", "?a", "?a;b=1", "?;verify=1"),
        *("(http://h?a=b)", "-sk-a", "-eyJaaaaaaaa", "a='", "password: ", "-----BEGIN "),
    ],
)
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


@pytest.mark.parametrize(
    "name",
    [
        "secret_id",
        "secret_name",
        "token_count",
        "tokens",
        "name",
        "password_strength",
        "public_key",
    ],
)
def test_ids_names_and_counts_of_secrets_are_recorded(name: str) -> None:
    assert redact_field(name, "s-1") == "s-1"


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
