"""``yprov-mlflow push``: send a document to a yProv service, and keep the identifier."""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from yprov_mlflow.prov.cli.console import (
    PARTLY,
    json_option,
    print_json,
    printable,
    store_errors,
    tracking_uri_option,
)
from yprov_mlflow.prov.errors import ServiceError, StoreError
from yprov_mlflow.prov.tags import PID_DETAILS_TAG, PID_TAG

if TYPE_CHECKING:
    from yprov_mlflow.prov.model.document import Document

_PROFILES = {"yprov": "yprov4ml", "yprovstore": "none"}


@click.command(
    epilog="Exit codes: 0 done, or the service has this document already, 1 the service rejects "
    "the document or is away, 2 wrong usage, 3 uploaded, but something was left out: it is named."
)
@click.argument("source", metavar="RUN|DOCUMENT")
@click.option("--to", "address", required=True, metavar="URL", help="Address of the service.")
@click.option("--id", "name", metavar="NAME", help="Name at the yProv service; by default run-ID.")
@click.option(
    "--profile",
    type=click.Choice(["yprov4ml", "none"]),
    help="Shape of the document; by default yprov4ml for the yProv service, which drops relations "
    "of whole documents, and none (the whole document) for yProvStore.",
)
@click.option("--replace", is_flag=True, help="Delete the document of this name first (yProv).")
@click.option("--parent", metavar="PID", help="The version before (yProvStore).")
@click.option("--related", multiple=True, metavar="PID", help="A related document (yProvStore).")
@click.option("--register", is_flag=True, help="Register YPROV_USER with YPROV_PASSWORD first.")
@tracking_uri_option
@json_option
def push(
    source: str,
    address: str,
    *,
    name: str | None,
    profile: str | None,
    replace: bool,
    parent: str | None,
    related: tuple[str, ...],
    register: bool,
    tracking_uri: str | None,
    as_json: bool,
) -> None:
    """Send the document of a run to the yProv service or to yProvStore.

    URL is yprov://HOST[:PORT], yprovstore://HOST[:PORT], or an address with http or https. The
    service's token or API key comes from YPROV_TOKEN or the file YPROV_TOKEN_FILE; YPROV_USER and
    YPROV_PASSWORD log in, also if the token has expired. A run keeps the identifier in the tag
    yprov.pid; pushed again, it becomes a new version at yProvStore if its document has changed.

    \b
    Examples:
      yprov-mlflow push 5f0c9b2e6d3a4b0f8a7c1d2e3f405162 --to yprov://localhost:3000
      yprov-mlflow push prov.json --to https://store.example.org --related 21.T11/4a2b
    """
    from yprov_mlflow.prov.capture import run_names
    from yprov_mlflow.prov.capture.run_views import run_tags, set_run_tags
    from yprov_mlflow.prov.share import yprov_service as service
    from yprov_mlflow.prov.share import yprov_upload as upload

    target = service.parse_target(address)
    credentials = service.Credentials.from_environment()
    with tempfile.TemporaryDirectory(prefix="yprov-") as folder, store_errors(tracking_uri, source):
        source = run_names.resolve(source, tracking_uri)
        document, beside = _load(source, tracking_uri, Path(folder))
        profile = profile or _PROFILES[target.kind]
        data, omitted = upload.content(document, beside, profile)
        run_id = None if run_names.is_local(source) else source
        tags = run_tags(run_id, tracking_uri) if run_id is not None else {}
    if target.kind == "yprov" and (count := upload.dropped(document)) and profile == "none":
        omitted.append(f"{count} relations that the service drops; --profile yprov4ml keeps them")
    digest = hashlib.sha256(data).hexdigest()
    before = _details(tags.get(PID_DETAILS_TAG))
    same_service = before.get("service") == target.base
    if same_service and before.get("sha256") == digest and not (related or replace):
        _report({"pid": tags.get(PID_TAG), "unchanged": True}, omitted, as_json)
        return
    connection = service.Service(target, credentials)
    if register:
        connection.register()
    name = name or f"run-{run_id or upload.run_of(document) or digest[:32]}"
    parent = parent or (tags.get(PID_TAG) if same_service else None)
    receipt = connection.upload(data, name, parent=parent, replace=replace)
    facts = {"pid": receipt.pid, "url": receipt.url, "version": receipt.version}
    details = {"service": target.base, "sha256": digest, "version": receipt.version}
    kept = {PID_TAG: receipt.pid, PID_DETAILS_TAG: json.dumps(details, sort_keys=True)}
    try:
        if run_id is not None:
            with store_errors(tracking_uri, run_id):
                set_run_tags(run_id, kept, tracking_uri)
    except StoreError as error:
        omitted.append(f"the tag {PID_TAG} of the run: {error}")
    fields = upload.search_fields(document) if target.kind == "yprovstore" else {}
    try:
        if fields:
            connection.describe(receipt.pid, fields)
    except ServiceError as error:  # the document is there, and older services lack the route
        omitted.append(f"{', '.join(fields)} for searches: {error}")
    if related:
        connection.relate(receipt.pid, related)
    _report({key: value for key, value in facts.items() if value is not None}, omitted, as_json)


def _load(source: str, tracking_uri: str | None, folder: Path) -> tuple[Document, Path]:
    """Return the document, and the folder that has its metric files."""
    from yprov_mlflow.prov.capture.run_views import is_path, load_document, write_document
    from yprov_mlflow.prov.formats import prov_json

    if is_path(source):
        return load_document(source), Path(source).parent
    path = write_document(source, folder, tracking_uri, with_points=True)
    return prov_json.loads(path.read_bytes()), path.parent


def _details(text: str | None) -> dict[str, object]:
    try:
        value = json.loads(text or "{}")
    except ValueError:  # a user may have set the tag
        return {}
    return value if isinstance(value, dict) else {}


def _report(facts: dict[str, object], omitted: list[str], as_json: bool) -> None:
    """Print identifier and address; name what the service does not have."""
    if as_json:
        print_json({**facts, "omitted": omitted} if omitted else facts)
    else:
        click.echo(printable(str(facts["pid"])))
        for key in ("version", "url"):
            if facts.get(key) not in (None, facts["pid"]):
                click.echo(f"{key}: {printable(str(facts[key]))}")
        if facts.get("unchanged"):
            click.echo("The service has this document already.")
    for text in omitted:
        click.echo(f"Left out: {printable(text)}", err=True)
    if omitted:
        sys.exit(PARTLY)
