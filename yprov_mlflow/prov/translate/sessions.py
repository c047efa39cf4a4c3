"""Sessions of a run, what ran in them and where: software, code, environment, host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from yprov_mlflow.prov.events import FactsCollected
from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.model.document import Attributes
from yprov_mlflow.prov.model.identifiers import RUN, STORE, content, digest, purl, segment
from yprov_mlflow.prov.model.literals import name, plain, text
from yprov_mlflow.prov.translate.timeline import Span
from yprov_mlflow.prov.translate.translation import Translation

_SOFTWARE = (("mlflow", "mlflow"), ("yprov_mlflow", "yprov-mlflow"))

_SESSION_TERMS = {
    "pid": "mlf:pid",
    "argv": "mlf:commandLine",
    "cwd": "mlf:workingDirectory",
    "python": "mlf:pythonVersion",
    "side": "mlf:side",
    "rank": "mlf:rank",
    "local_rank": "mlf:localRank",
    "world_size": "mlf:worldSize",
}
_CODE_TERMS = {
    "commit": "mlf:gitCommit",
    "branch": "mlf:gitBranch",
    "dirty": "mlf:gitDirty",
    "diff_sha256": "mlf:gitDiffSha256",
    "remote": "schema:codeRepository",
    "entry_point": "mlf:entryPoint",
    "entry_point_sha256": "mlf:entryPointSha256",
}
_ENVIRONMENT_TERMS = {
    "python": "mlf:pythonVersion",
    "implementation": "mlf:pythonImplementation",
    "platform": "mlf:platform",
}
_HOST_TERMS = {
    "os": "mlf:operatingSystem",
    "machine": "mlf:machine",
    "cpu_count": "mlf:cpuCount",
    "memory_bytes": "mlf:memoryBytes",
}


def described(
    facts: Mapping[str, Any], terms: Mapping[str, str], leave: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Give attributes for facts: known ones by their terms, all others as one JSON text."""
    found: dict[str, Any] = {term: plain(facts.get(key)) for key, term in terms.items()}
    others = {
        key: value
        for key, value in facts.items()
        if key not in terms and key not in leave and value is not None
    }
    if others:
        found["mlf:facts"] = literals.canonical(others)
    return found


def add_sessions(translation: Translation, facts: Mapping[str, Mapping[str, Any]]) -> None:
    """Make the records of all sessions; ``facts`` has for each token those it started with."""
    for span in translation.timeline.sessions:
        _add_session(translation, span, facts.get(span.token, {}))


def _add_session(translation: Translation, span: Span, facts: Mapping[str, Any]) -> None:
    builder, store_level = translation.builder, translation.store_level
    start = literals.instant(span.start)
    attributes = described(facts, _SESSION_TERMS, ("host", "user", "mlflow", "yprov_mlflow"))
    if attributes["mlf:rank"] is None:
        attributes["mlf:rank"] = literals.integer(span.rank)
    if isinstance(facts.get("argv"), list):
        attributes["mlf:commandLine"] = literals.canonical(facts["argv"])
    host = facts.get("host")
    builder.activity(
        span.identifier,
        start,
        None if store_level else literals.instant(span.end or 0),
        ["mlf:RunSession"],
        _label(span, host),
        {
            **attributes,
            "mlf:token": text(span.token),
            "mlf:status": status(span.status),
            "dcterms:isPartOf": None if store_level else name(f"{RUN}:run"),
        },
    )
    if not span.after_end and not store_level:
        builder.was_started_by(span.identifier, f"{RUN}:run", start)
    if span.informant is not None:
        kind = "mlf:Resume" if span.resumed else None
        builder.was_informed_by(span.identifier, span.informant, kind)
    _add_software(translation, span, facts)
    if host:
        _use_host(translation, span, str(host), {})


def _label(span: Span, host: object) -> str:
    what = "after the end" if span.after_end else "session"
    if span.rank:
        what += f", rank {span.rank}"
    return text(f"{what} on {host}") if host else what


def status(value: str | None) -> literals.Value | None:
    """Give MLflow's status of a run or model: an individual of the vocabulary, if it has it."""
    if value is None:
        return None
    known = {"RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED", "PENDING", "READY", "DELETED"}
    return name(f"mlf:{value}") if value in known else text(value)


def _add_software(translation: Translation, span: Span, facts: Mapping[str, Any]) -> None:
    builder = translation.builder
    user = facts.get("user")
    person = translation.user(user) if user else None
    if person is not None:
        builder.was_associated_with(span.identifier, person, "mlf:operator")
    for key, package in _SOFTWARE:
        version = facts.get(key)
        if not version:
            continue
        agent = builder.agent(
            f"{STORE}:software/{package}/{segment(version)}",
            ["prov:SoftwareAgent"],
            text(f"{package} {version}"),
            {"schema:name": package, "schema:softwareVersion": text(version)},
        )
        role = "mlf:recorder" if package == "yprov-mlflow" else "mlf:tracker"
        plan = translation.plans.get(span.token) if package == "mlflow" else None
        builder.was_associated_with(span.identifier, agent, role, plan)
        if person is not None:
            builder.acted_on_behalf_of(agent, person, span.identifier)


# -- what collectors found ---------------------------------------------------------------


def add_facts(translation: Translation, event: FactsCollected, host: object) -> None:
    """Make the records of what a collector found; each session's facts, from its start on."""
    span = translation.timeline.first_session(event.session)
    adder = _ADDERS.get(event.collector)
    if span is None or event.collector == "git":
        return  # code is a plan, which associations name before anything else is made
    if adder is not None:
        adder(translation, span, event.facts, host)
        return
    entity = f"{STORE}:facts/{segment(event.collector)}/{digest(dict(event.facts))}"
    attributes = {"mlf:facts": literals.canonical(dict(event.facts))}
    translation.builder.entity(entity, ["mlf:Facts"], text(event.collector), attributes)
    _use(translation, span, entity, "mlf:collected")


def code_plan(translation: Translation, facts: Mapping[str, Any]) -> str | None:
    """Make the plan entity for what is known of the code; None if nothing is."""
    known = {key: value for key, value in facts.items() if value is not None}
    if not known:
        return None
    commit = str(known.get("commit") or "")
    label = str(known.get("entry_point") or "code")
    return translation.builder.entity(
        content({"code": known}),
        ["prov:Plan", "schema:SoftwareSourceCode"],
        text(f"{label} at {commit[:12]}" if commit else label),
        described(known, _CODE_TERMS),
    )


def _add_environment(
    translation: Translation, span: Span, facts: Mapping[str, Any], host: object
) -> None:
    packages = literals.mapping(facts.get("packages"))
    builder = translation.builder
    types = ["mlf:Environment", "prov:Collection"]
    entity = content({"environment": dict(facts)})
    python = facts.get("python")
    label = f"Python {python}, {len(packages)} packages" if python else "environment"
    attributes = described(facts, _ENVIRONMENT_TERMS, ("packages",))
    builder.entity(entity, types, text(label), attributes)
    for package, version in packages.items():
        member = builder.entity(
            purl(str(package), version),
            ["mlf:Package"],
            text(f"{package} {version}" if version else package),
            {
                "schema:name": text(package),
                "schema:softwareVersion": text(version) if version else None,
            },
        )
        builder.had_member(entity, member)
    _use(translation, span, entity, "mlf:environment")


def _add_host(translation: Translation, span: Span, facts: Mapping[str, Any], host: object) -> None:
    _use_host(translation, span, str(facts.get("host") or host or "unknown"), facts)


def _use_host(translation: Translation, span: Span, host: str, facts: Mapping[str, Any]) -> None:
    attributes: Attributes = described(facts, _HOST_TERMS, ("host",))
    entity = translation.builder.entity(
        f"{STORE}:host/{digest(host)[:16]}",
        ["sosa:Platform", "prov:Location", "mlf:Host"],
        text(host),
        attributes,
    )
    _use(translation, span, entity, "mlf:host")


def _use(translation: Translation, span: Span, entity: str, role: str) -> None:
    translation.builder.used(span.identifier, entity, literals.instant(span.start), role)


_ADDERS: Mapping[str, Callable[[Translation, Span, Mapping[str, Any], object], None]] = {
    "environment": _add_environment,
    "host": _add_host,
}
