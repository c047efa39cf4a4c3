"""Seals of folders: every change is noticed, and named; keys, envelopes and the chain."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from yprov_mlflow.prov.cli import main
from yprov_mlflow.prov.errors import KeyFileError, SealError
from yprov_mlflow.prov.integrity import envelope, signing_keys
from yprov_mlflow.prov.integrity.file_tree import FolderTree
from yprov_mlflow.prov.integrity.manifest import FILES, Link, Manifest
from yprov_mlflow.prov.integrity.seal_chain import ChainedSeal, SealChain, check_chain
from yprov_mlflow.prov.integrity.sealing import Sealable, seal
from yprov_mlflow.prov.integrity.verification import verify

DOCUMENT = {
    "prefix": {"ex": "https://example.org/"},
    "entity": {"ex:a": {"prov:label": "a"}, "ex:b": {}},
    "wasDerivedFrom": {"_:d": {"prov:generatedEntity": "ex:a", "prov:usedEntity": "ex:b"}},
}


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> signing_keys.PrivateKey:
    path = tmp_path_factory.mktemp("keys") / "key.pem"
    signing_keys.make(path, "ed25519")
    return signing_keys.load_private(path)


def folder(path: Path) -> Sealable:
    path.mkdir(exist_ok=True)
    return Sealable("run", FolderTree(path), "")


def texts(thing: Sealable, key: signing_keys.PrivateKey) -> list[str]:
    return [str(difference) for difference in verify(thing, key.public).differences]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda d: d["entity"]["ex:a"].update({"prov:label": "x"}), "changed: entity ex:a"),
        (lambda d: d["entity"].pop("ex:b"), "removed: entity ex:b"),
        (lambda d: d["entity"].update({"ex:c": {}}), "added: entity ex:c"),
        (lambda d: d["prefix"].update({"ex": "https://other/"}), "changed: prefix ex"),
        (lambda d: d.pop("wasDerivedFrom"), "removed: wasDerivedFrom _:d"),
    ],
)
def test_changed_record_is_named(tmp_path, key, change, expected):
    thing, path = folder(tmp_path / "run"), tmp_path / "run" / "prov.json"
    path.write_text(json.dumps(DOCUMENT))
    seal(thing, key)
    assert texts(thing, key) == []
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    assert texts(thing, key) == [f"{expected} in prov.json"]
    path.write_text(json.dumps(DOCUMENT, indent=1))
    assert texts(thing, key) == ["changed: prov.json (its parts are the same)"]
    path.write_text("{")
    assert texts(thing, key) == ["changed: prov.json (it can no longer be read)"]


contents = st.dictionaries(
    st.text("ab/ü", min_size=1, max_size=4).map(lambda name: f"f{name.replace('/', '_')}"),
    st.binary(max_size=20),
    max_size=4,
)


@settings(max_examples=15)
@given(contents, contents)
def test_files_that_differ_are_exactly_those_named(tmp_path_factory, key, before, after):
    path = tmp_path_factory.mktemp("run")
    thing = folder(path)
    for name, content in before.items():
        (path / name).write_bytes(content)
    seal(thing, key)
    for name in before.keys() - after.keys():
        (path / name).unlink()
    for name, content in after.items():
        (path / name).write_bytes(content)
    expected = [f"added: {name}" for name in after.keys() - before.keys()]
    expected += [f"removed: {name}" for name in before.keys() - after.keys()]
    expected += [f"changed: {n}" for n in before.keys() & after.keys() if before[n] != after[n]]
    assert sorted(texts(thing, key)) == sorted(expected)


def test_seal_of_another_key_folder_or_content_is_rejected(tmp_path, key):
    thing, other = folder(tmp_path / "run"), folder(tmp_path / "other")
    (tmp_path / "run" / "a").write_text("a")
    seal(thing, key)
    path = tmp_path / "run" / "seal.json"
    original = path.read_bytes()
    signing_keys.make(tmp_path / "forger.pem", "ed25519")
    forger = signing_keys.load_private(tmp_path / "forger.pem")
    assert ["the signature is not by key" in text for text in texts(thing, forger)] == [True]
    bundle = json.loads(original)
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    statement["predicate"]["resources"][0]["digest"] = "0" * 64
    payload = base64.b64encode(json.dumps(statement).encode()).decode()
    bundle["dsseEnvelope"]["payload"] = payload
    path.write_text(json.dumps(bundle))
    assert ["the signature is not by key" in text for text in texts(thing, key)] == [True]
    path.unlink()
    assert texts(thing, key) == ["removed: seal.json (there is no seal)"]
    seal(Sealable("another run", other.tree, ""), key)
    path.write_bytes((tmp_path / "other" / "seal.json").read_bytes())
    assert "changed: seal.json (it is the seal of another run)" in texts(thing, key)


@given(st.data())
@settings(max_examples=40)
def test_no_byte_of_an_envelope_can_change(key, data):
    content = envelope.signed({"text": "ä" * 20, "number": [1, 2.5]}, key)
    damaged = bytearray(content)
    damaged[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        statement = envelope.opened(bytes(damaged), "seal", key.public)
    except SealError:
        return
    # Bytes outside the signed envelope, such as spaces, may differ; what it says may not.
    assert statement == envelope.opened(content, "seal", key.public)


def test_link_is_not_sealed_and_noticed_later(tmp_path, key):
    thing = folder(tmp_path / "run")
    (tmp_path / "run" / "a").write_text("a")
    seal(thing, key)
    (tmp_path / "run" / "a").unlink()
    (tmp_path / "run" / "a").symlink_to("/etc/hostname")
    assert len(texts(thing, key)) == 1
    with pytest.raises(SealError, match="only files can be sealed"):
        seal(thing, key)


# -- keys --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", signing_keys.MAKERS)
@pytest.mark.parametrize("password", ["", "secret"])
def test_key_files(tmp_path, kind, password):
    path = tmp_path / "key.pem"
    public = signing_keys.make(path, kind, password)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    private = signing_keys.load_private(path, password)
    assert signing_keys.is_encrypted(path) == bool(password)
    for file in (path, tmp_path / "key.pem.pub"):
        assert signing_keys.load_public(file).fingerprint == public.fingerprint
    signature = private.sign(b"message")
    assert public.verifies(signature, b"message")
    assert not public.verifies(signature, b"messagE")
    assert not public.verifies(b"", b"message")
    with pytest.raises(KeyFileError, match="cannot be written"):
        signing_keys.make(path, kind)
    with pytest.raises(KeyFileError, match="not a private key"):
        signing_keys.load_private(path, "wrong" if password else "unneeded")


def test_other_kinds_of_keys_and_files_are_refused(tmp_path):
    path = tmp_path / "key.pem"
    for load in (signing_keys.load_private, signing_keys.load_public):
        with pytest.raises(KeyFileError, match="cannot be read"):
            load(path)
    path.write_text("text")
    for load in (signing_keys.load_private, signing_keys.load_public):
        with pytest.raises(KeyFileError, match="not a p"):
            load(path)


# -- the chain ---------------------------------------------------------------------------


def chain_of(state: Path, runs: str) -> SealChain:
    chain = SealChain(state, "store")
    for run in runs:
        with chain.turn() as link:
            manifest = Manifest(run, "2026-01-01", {}, link=link, experiment="0", kind=FILES)
            chain.add(ChainedSeal.of(f"seal of {run}", manifest))
    return chain


def test_each_changed_removed_or_moved_line_is_a_gap(tmp_path):
    chain = chain_of(tmp_path, "abcd")
    lines = chain.path.read_bytes().splitlines(keepends=True)
    runs = dict.fromkeys("abcd")
    nothing = {run: verify(Sealable(run, FolderTree(tmp_path / run), ""), None) for run in runs}
    assert [*check_chain(chain, nothing)] == []
    for number in range(4):
        changed = lines[number].replace(b"2026", b"2025")
        for damaged in (
            [*lines[:number], changed, *lines[number + 1 :]],
            [*lines[:number], *lines[number + 1 :]],
            [*lines[:number], lines[number], lines[number], *lines[number + 1 :]],
            [*lines[:number], b"{}\n", *lines[number:]],
        ):
            chain.path.write_bytes(b"".join(damaged))
            differences = [*check_chain(chain, nothing)]
            # The last line is compared with its seal, and with the digest that was kept elsewhere.
            if number == 3 and len(damaged) != 5:
                differences += chain.check_head(ChainedSeal(**json.loads(lines[3])).digest())
            assert differences, (number, damaged)


def test_line_that_a_killed_process_began_is_replaced(tmp_path):
    chain = chain_of(tmp_path, "ab")
    content = chain.path.read_bytes()
    chain.path.write_bytes(content + b'{"chain": "x')
    with chain.turn() as link:
        assert link.number == 3
        chain.add(ChainedSeal.of("c", Manifest("c", "", {}, link=link)))
    seals, unreadable = chain.lines()
    assert [seal.run for seal in seals] == ["a", "b", "c"] and not unreadable
    assert chain.path.read_bytes().startswith(content)


def test_position_in_the_chain_is_part_of_what_is_signed(key):
    manifest = Manifest("run", "now", {}, link=Link("chain", 3, "previous"))
    statement = envelope.opened(envelope.signed(manifest.statement(), key), "seal", key.public)
    assert statement["predicate"]["yprov_mlflow"]["link"]["number"] == 3


# -- the commands ------------------------------------------------------------------------


def command(*arguments: str):
    return CliRunner().invoke(main, [*map(str, arguments)], standalone_mode=False)


def test_commands_seal_and_verify_a_folder(tmp_path):
    run = tmp_path / "converted"
    run.mkdir()
    (run / "prov.json").write_text(json.dumps(DOCUMENT))
    key = tmp_path / "key.pem"
    assert "there is no key" in CliRunner().invoke(main, ["seal", str(run)]).output
    made = CliRunner().invoke(main, ["seal", "--new-key", str(key), str(run)])
    assert (made.exit_code, made.stdout.split()[0]) == (0, "sealed")
    again = CliRunner().invoke(main, ["seal", "--key", str(key), str(run)])
    assert again.stdout.split()[0] == "current"
    whole = CliRunner().invoke(main, ["verify", "--key", f"{key}.pub", str(run)])
    assert (whole.exit_code, whole.stdout) == (0, "1 verified: no difference.\n")
    (run / "prov.json").write_text(json.dumps({**DOCUMENT, "entity": {}}))
    (run / "added").write_text("")
    options = ["verify", "--key", f"{key}.pub", str(run)]
    changed = CliRunner().invoke(main, options)
    assert changed.exit_code == 1
    assert "removed: entity ex:a in prov.json" in changed.stdout
    as_json = json.loads(CliRunner().invoke(main, [*options, "--json"]).stdout)
    assert {row["kind"] for row in as_json["differences"]} == {"removed", "added"}
