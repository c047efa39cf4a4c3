"""``yprov-mlflow seal`` and ``verify``: sign the state of runs, and find changes of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from yprov_mlflow.prov.cli.console import (
    FAILED,
    json_option,
    print_json,
    printable,
    store_errors,
    tracking_uri_option,
)
from yprov_mlflow.prov.errors import MissingExtraError, SealError, UsageError
from yprov_mlflow.prov.layout import CONVERSION

if TYPE_CHECKING:
    from yprov_mlflow.prov.capture.run_seals import SealedStore
    from yprov_mlflow.prov.integrity.differences import Difference
    from yprov_mlflow.prov.integrity.sealing import Sealable
    from yprov_mlflow.prov.integrity.verification import Verified

_MOST_SHOWN = 100
_KINDS = ("ed25519", "ecdsa-p256")

_target_argument = click.argument("targets", metavar="[RUN|FOLDER]...", nargs=-1)
_experiment_option = click.option(
    "--experiment", metavar="NAME", help="All runs of this experiment, by name or id."
)
_all_option = click.option(
    "--all", "whole", is_flag=True, help="All runs of the store, and the list of them."
)


def _key_option(meaning: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return the option ``--key``, which a variable of the environment may replace."""
    file = click.Path(exists=True, dir_okay=False, path_type=Path)
    variable = "YPROV_MLFLOW_SEAL_KEY"
    return click.option(
        "--key", metavar="FILE", type=file, envvar=variable, show_envvar=True, help=meaning
    )


class _Targets(NamedTuple):
    """What to seal or verify: folders, and runs of a store."""

    folders: list[Sealable]
    runs: list[str]
    store: SealedStore | None


@click.command(epilog="Exit codes: 0 sealed, 1 something could not be sealed, 2 wrong usage.")
@_target_argument
@_experiment_option
@_all_option
@_key_option("Private key in PEM.")
@click.option(
    "--new-key",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Make a key, and write its public half to FILE.pub.",
)
@click.option(
    "--kind",
    type=click.Choice(_KINDS),
    default=_KINDS[0],
    show_default=True,
    help="Kind of the new key; model-signing reads ecdsa-p256.",
)
@click.option("--encrypt", is_flag=True, help="Ask for a password for the new key.")
@click.option("--again", is_flag=True, help="Seal what has a current seal, too.")
@tracking_uri_option
@json_option
def seal(
    targets: tuple[str, ...],
    *,
    experiment: str | None,
    whole: bool,
    key: Path | None,
    new_key: Path | None,
    kind: str,
    encrypt: bool,
    again: bool,
    tracking_uri: str | None,
    as_json: bool,
) -> None:
    """Sign the present state of runs or folders, so that `verify` finds every change.

    The seal lists the document, metric files, artifacts and journals with their SHA-256. It is an
    in-toto statement in a DSSE envelope, and is written beside the document: provenance/seal.json
    among the artifacts of a run, seal.json in a folder. With --all, the list of runs is sealed,
    too. docs/integrity.md explains what a seal proves, and its limits.

    \b
    Examples:
      yprov-mlflow seal --new-key ~/.keys/lab.pem
      yprov-mlflow seal 5f0c9b2e6d3a4b0f8a7c1d2e3f405162 --key ~/.keys/lab.pem
      yprov-mlflow seal --all --key ~/.keys/lab.pem
      yprov-mlflow seal prov/ --key ~/.keys/lab.pem
    """
    # Making a key and sealing with it are one step for those who try it out.
    if new_key is not None:
        _make_key(new_key, kind, encrypt)
        if not (targets or experiment or whole):
            return
        key = key or new_key
    private = _private_key(key)
    results: list[dict[str, Any]] = []
    with _targets(targets, experiment, whole, tracking_uri) as chosen:
        for thing in chosen.folders:
            results.append(_seal_folder(thing, private, again))
            _print_sealed(results[-1], as_json)
        for run_id in chosen.runs:
            results.append(_seal_run(chosen.store, run_id, private, again))
            _print_sealed(results[-1], as_json)
        if chosen.store is not None and whole:
            chosen.store.seal_store(chosen.runs, private)
        head = chosen.store.chain.head() if chosen.store is not None else ""
    if as_json:
        print_json({"seals": results, "key": private.public.fingerprint, "head": head})
    elif head:
        click.echo(f"Keep this elsewhere, to notice that the newest seals vanish: {head}")
    sys.exit(FAILED if any(result["state"] == "failed" for result in results) else 0)


@click.command(
    epilog="Exit codes: 0 everything is as it was sealed, 1 something differs, 2 wrong usage."
)
@_target_argument
@_experiment_option
@_all_option
@_key_option("Public key in PEM.")
@click.option(
    "--head", metavar="SHA256", help="A line of the chain that `seal` printed, and must exist."
)
@tracking_uri_option
@json_option
def verify(
    targets: tuple[str, ...],
    *,
    experiment: str | None,
    whole: bool,
    key: Path | None,
    head: str | None,
    tracking_uri: str | None,
    as_json: bool,
) -> None:
    """Compare runs and folders with their seals; name each record, point and file that differs.

    With --all or --experiment, runs that were removed or added since they were sealed are named,
    too. Journals are compared on the machine that has them.

    \b
    Examples:
      yprov-mlflow verify 5f0c9b2e6d3a4b0f8a7c1d2e3f405162 --key lab.pem.pub
      yprov-mlflow verify --all --key lab.pem.pub
      yprov-mlflow verify prov/ --key lab.pem.pub --json
    """
    public = _public_key(key)
    with _targets(targets, experiment, whole, tracking_uri) as chosen:
        results = _verify_folders(chosen.folders, public)
        differences: list[Difference] = []
        if (store := chosen.store) is not None:
            of_runs = {run_id: store.verify_run(run_id, public) for run_id in chosen.runs}
            if whole or experiment:
                differences += store.check_chain(of_runs, public, experiment)
            if head:
                differences += store.chain.check_head(head)
            results |= of_runs
    added = {difference.thing for difference in differences if difference.kind == "added"}
    for name, result in results.items():
        if f"run {name}" not in added:  # else it never had a seal
            differences += result.differences
    notes = [f"{name}: {note}" for name, result in results.items() for note in result.notes]
    count = len(results)
    if as_json:
        print_json(
            {
                "verified": count,
                "differences": [difference._asdict() for difference in differences],
                "notes": notes,
            }
        )
    else:
        _print_differences(differences, notes, count)
    sys.exit(FAILED if differences else 0)


# -- keys ------------------------------------------------------------------------------------


def _keys() -> Any:
    try:  # needs an extra
        from yprov_mlflow.prov.integrity import signing_keys
    except ImportError as error:
        raise MissingExtraError.of("cryptography", "seal", "a seal") from error
    return signing_keys


def _make_key(path: Path, kind: str, encrypt: bool) -> None:
    password = ""
    if encrypt:
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    public = _keys().make(path, kind, password)
    click.echo(f"{printable(str(path))}: key {public.fingerprint[:16]}", err=True)


def _key_path(path: Path | None) -> Path:
    if path is None:
        raise SealError.no_key()
    return path


def _private_key(path: Path | None) -> Any:
    keys, path = _keys(), _key_path(path)
    password = ""
    if keys.is_encrypted(path):
        password = click.prompt(f"Password of {path}", hide_input=True, err=True)
    return keys.load_private(path, password)


def _public_key(path: Path | None) -> Any:
    return _keys().load_public(_key_path(path))


# -- targets ---------------------------------------------------------------------------------


@contextmanager
def _targets(
    targets: Sequence[str], experiment: str | None, whole: bool, tracking_uri: str | None
) -> Iterator[_Targets]:
    """Yield what the command line names; errors of the store name the remedy meanwhile."""
    if not (targets or experiment or whole):
        raise UsageError("nothing is named", None, "Name runs or folders, or use --all")
    folders = [_folder(Path(target)) for target in targets if Path(target).is_dir()]
    runs = [target for target in targets if not Path(target).is_dir()]
    if not (runs or experiment or whole):
        yield _Targets(folders, [], None)
        return
    # MLflow takes seconds to import, which folders do not need.
    from yprov_mlflow.prov.capture import run_names
    from yprov_mlflow.prov.capture.run_seals import SealedStore

    with store_errors(tracking_uri, runs[0] if len(runs) == 1 else None):
        runs = [run_names.resolve(run, tracking_uri) for run in runs]
        store = SealedStore(tracking_uri)
        if experiment or whole:
            runs += store.runs(experiment)
        yield _Targets(folders, list(dict.fromkeys(runs)), store)


def _folder(path: Path) -> Sealable:
    from yprov_mlflow.prov.integrity.file_tree import FolderTree
    from yprov_mlflow.prov.integrity.sealing import Sealable

    return Sealable(path.resolve().name, FolderTree(path), "", skipped=(CONVERSION,))


def _seal_folder(thing: Sealable, key: Any, again: bool) -> dict[str, Any]:
    from yprov_mlflow.prov.integrity import sealing, verification

    if not thing.names():
        raise SealError.nothing(thing.name, "Name a folder with documents")
    if not again:
        result = verification.verify(thing, key.public)
        if not result.differences:
            return {"name": thing.name, "state": "current", "seal": result.seal, "note": ""}
    made = sealing.seal(thing, key)
    return {"name": thing.name, "state": "sealed", "seal": made.sha256, "note": ""}


def _verify_folders(things: Sequence[Sealable], key: Any) -> dict[str, Verified]:
    from yprov_mlflow.prov.integrity import verification

    return {thing.name: verification.verify(thing, key) for thing in things}


def _seal_run(store: SealedStore | None, run_id: str, key: Any, again: bool) -> dict[str, Any]:
    """Seal one run; a run that cannot be sealed does not stop the others."""
    assert store is not None
    try:
        result = store.seal_run(run_id, key, again=again)
    except (SealError, OSError) as error:
        return {"name": run_id, "state": "failed", "seal": "", "note": str(error)}
    return {"name": run_id, "state": result.state, "seal": result.sha256, "note": result.note}


# -- output ----------------------------------------------------------------------------------


def _print_sealed(result: dict[str, Any], as_json: bool) -> None:
    if not as_json:
        note = f"  ({result['note']})" if result["note"] else ""
        line = f"{result['state']:8} {result['name']}  {result['seal'][:16]}{note}"
        click.echo(printable(line))


def _print_differences(differences: Sequence[Difference], notes: Sequence[str], count: int) -> None:
    names = list(dict.fromkeys(difference.thing for difference in differences))
    shown = 0
    for name in names:
        click.echo(printable(f"{name}:"))
        for difference in (d for d in differences if d.thing == name):
            if shown < _MOST_SHOWN:
                click.echo(printable(f"  {difference}"))
            shown += 1
    if shown > _MOST_SHOWN:
        click.echo(f"… and {shown - _MOST_SHOWN} more (--json lists them)")
    for note in notes:
        click.echo(printable(f"Note: {note}"))
    changed = f"{shown} differences" if shown else "no difference"
    click.echo(f"{count} verified: {changed}.")
