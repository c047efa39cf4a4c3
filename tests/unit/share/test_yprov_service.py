"""The client of the yProv services: authentication, refusals, retries, versions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fakes.yprov_services import FakeService, running

from yprov_mlflow.prov.errors import ServiceError, UsageError
from yprov_mlflow.prov.share.yprov_service import Credentials, Service, Target, parse_target

DOCUMENT = b'{"entity": {"ex:e": {}}}'
LOGIN = Credentials(user="user@example.org", password="correct horse")


@pytest.fixture
def yprov() -> Iterator[FakeService]:
    with running("yprov") as service:
        yield service


@pytest.fixture
def store() -> Iterator[FakeService]:
    with running("yprovstore") as service:
        yield service


def connect(fake: FakeService, credentials: Credentials = LOGIN, timeout_s: float = 5.0) -> Service:
    base = fake.url + ("/api/v0" if fake.kind == "yprov" else "")
    target = parse_target(base)
    assert target == Target(fake.kind, base)
    return Service(target, credentials, timeout_s=timeout_s, backoff_s=0.01)


@pytest.mark.parametrize(
    ("address", "kind", "base"),
    [
        ("yprov://prov.example.org", "yprov", "https://prov.example.org/api/v0"),
        ("yprov://localhost:3000", "yprov", "http://localhost:3000/api/v0"),
        ("yprov://localhost:3000/api/v1/", "yprov", "http://localhost:3000/api/v1"),
        ("http://h:3000/api/v1", "yprov", "http://h:3000/api/v1"),
        ("yprovstore://s.example.org:8000", "yprovstore", "https://s.example.org:8000"),
        ("https://s.example.org/store", "yprovstore", "https://s.example.org/store"),
    ],
)
def test_address_names_kind_and_base(address: str, kind: str, base: str) -> None:
    assert parse_target(address) == Target(kind, base)


@pytest.mark.parametrize("address", ["prov.example.org", "ftp://h/x", "yprov://", "file:///x"])
def test_other_addresses_are_rejected(address: str) -> None:
    with pytest.raises(UsageError, match=r"Use yprov://host"):
        parse_target(address)


def test_password_in_the_address_is_rejected_and_not_shown() -> None:
    with pytest.raises(UsageError) as caught:
        parse_target("yprov://me:hunter2@host")
    assert "hunter2" not in str(caught.value)


def test_credentials_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="YPROV_TOKEN_FILE"):
        Credentials.from_environment()
    file = tmp_path / "token"
    file.write_text("from-file\n")
    monkeypatch.setenv("YPROV_TOKEN_FILE", str(file))
    assert Credentials.from_environment().token == "from-file"
    monkeypatch.setenv("YPROV_TOKEN", "s3cret")
    credentials = Credentials.from_environment()
    assert credentials.token == "s3cret" and "s3cret" not in repr(credentials)


def test_upload_logs_in_and_returns_the_address(yprov: FakeService) -> None:
    receipt = connect(yprov).upload(DOCUMENT, "run-1")
    assert receipt.pid == f"{yprov.url}/api/v0/documents/run-1"
    assert yprov.documents == {"run-1": {"entity": {"ex:e": {}}}}


def test_document_of_the_same_name_is_not_merged(yprov: FakeService) -> None:
    yprov.documents["run-1"] = {"entity": {"ex:old": {}}}
    service = connect(yprov)
    with pytest.raises(ServiceError, match=r"merge.*--replace"):
        service.upload(DOCUMENT, "run-1")
    assert yprov.documents["run-1"] == {"entity": {"ex:old": {}}}
    service.upload(DOCUMENT, "run-1", replace=True)
    assert yprov.documents["run-1"] == {"entity": {"ex:e": {}}}


def test_expired_token_is_renewed_by_a_login(store: FakeService) -> None:
    expired = Credentials("expired", LOGIN.user, LOGIN.password)
    assert connect(store, expired).upload(DOCUMENT, "x").version == 1


def test_expired_token_without_password_names_the_cure(yprov: FakeService) -> None:
    with pytest.raises(ServiceError, match=r"expired.*YPROV_USER"):
        connect(yprov, Credentials("expired")).upload(DOCUMENT, "x")


def test_wrong_password_is_tried_once(yprov: FakeService) -> None:
    with pytest.raises(ServiceError, match="rejects the token or password"):
        connect(yprov, Credentials(user="user@example.org", password="wrong")).upload(DOCUMENT, "x")
    assert len(yprov.requests) == 1


def test_store_versions_and_relates_documents(store: FakeService) -> None:
    service = connect(store)
    first = service.upload(DOCUMENT, "x")
    second = service.upload(DOCUMENT, "x", parent=first.pid)
    assert (first.version, second.version) == (1, 2)
    service.relate(second.pid, [first.pid])
    assert store.related == {second.pid: [first.pid]}
    with pytest.raises(ServiceError, match="Related PID record does not exist"):
        service.relate(second.pid, ["21.T11999/none"])
    with pytest.raises(ServiceError, match=r"HTTP 404.*parent document PID does not exist"):
        service.upload(DOCUMENT, "x", parent="21.T11999/none")


def test_store_is_told_what_a_document_is_found_by(store: FakeService) -> None:
    service = connect(store)
    pid = service.upload(DOCUMENT, "x").pid
    service.describe(pid, {"title": "Digits", "keywords": ["cnn"]})
    assert store.metadata == {pid: {"title": "Digits", "keywords": ["cnn"]}}
    with pytest.raises(ServiceError, match="does not exist"):
        service.describe("21.T11999/none", {"title": "Digits"})


def test_busy_service_is_tried_again(store: FakeService) -> None:
    service = connect(store)
    store.refusals = [0, 503, 429]  # the login is answered
    assert service.upload(DOCUMENT, "x").version == 1
    assert len(store.documents) == 1
    store.refusals = [503] * 20
    with pytest.raises(ServiceError, match=r"busy or away \(HTTP 503.*Try again later"):
        service.upload(DOCUMENT, "x")
    assert len(store.refusals) == 20 - 5


@pytest.mark.parametrize(
    ("status", "cure"),
    [
        (400, "yprov-mlflow validate"),
        (403, "Ask its owner"),
        (409, "Choose another name"),
        (413, "--profile yprov4ml"),
        (422, "yprov-mlflow validate"),
        (500, "Ask those who run the service"),
    ],
)
def test_refusal_names_the_cure_and_no_token(store: FakeService, status: int, cure: str) -> None:
    token = store.issue()
    store.refusals = [status]
    with pytest.raises(ServiceError) as caught:
        connect(store, Credentials(token)).upload(DOCUMENT, "x")
    assert f"HTTP {status}" in str(caught.value) and cure in str(caught.value)
    assert token not in str(caught.value)


def test_missing_permission_is_named(yprov: FakeService) -> None:
    with pytest.raises(ServiceError, match="does not have permission"):
        connect(yprov).upload(DOCUMENT, "foreign-1")


def test_lost_answer_is_not_sent_again(store: FakeService) -> None:
    token = store.issue()
    store.delay_s = 1.0
    with pytest.raises(ServiceError, match="does not answer in time"):
        connect(store, Credentials(token), timeout_s=0.2).upload(DOCUMENT, "x")
    assert len(store.requests) == 1


def test_unreachable_service_is_named() -> None:
    target = parse_target("http://127.0.0.1:9/api/v0")
    with pytest.raises(ServiceError, match="cannot be reached"):
        Service(target, LOGIN, retries=1, backoff_s=0.01).upload(DOCUMENT, "x")


@pytest.mark.parametrize("kind", ["yprov", "yprovstore"])
def test_user_is_registered_once(kind: str) -> None:
    with running(kind) as fake:
        service = connect(fake, Credentials(user="new@example.org", password="correct horse"))
        service.register()
        service.register()
        assert "new@example.org" in fake.users
        taken = connect(fake, Credentials(user="new@example.org", password="another horse"))
        with pytest.raises(ServiceError):
            taken.register()
