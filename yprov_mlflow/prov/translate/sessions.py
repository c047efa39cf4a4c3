"""Sessions and contexts of a run; the software, code, environment and host of a session."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from yprov_mlflow.prov.events import FactsCollected
from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.model.identifiers import RUN, STORE, content, digest, purl, segment
from yprov_mlflow.prov.model.literals import name, plain, text
from yprov_mlflow.prov.translate.timeline import Span
from yprov_mlflow.prov.translate.translation import Translation

_STATUSES = frozenset("DELETED FAILED FINISHED KILLED PENDING READY RUNNING SCHEDULED".split())
"""Statuses of runs and models that the vocabulary has."""

_SOFTWARE = (
    ("mlflow", "mlflow", "mlf:tracker"),
    ("yprov_mlflow", "yprov-mlflow", "mlf:recorder"),
)
"""For each fact that is a version: the package and its role."""

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


def _attributes(
    facts: Mapping[str, Any], terms: Mapping[str, str], exclude: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Return facts as attributes: those with a term by it, all others as one JSON text."""
    attributes: dict[str, Any] = {term: plain(facts.get(key)) for key, term in terms.items()}
    others = {
        key: value
        for key, value in facts.items()
        if key not in terms and key not in exclude and value is not None
    }
    if others:
        attributes["mlf:facts"] = literals.canonical(others)
    return attributes


def add_sessions(translation: Translation, facts: Mapping[str, Mapping[str, Any]]) -> None:
    """Add all sessions of the timeline.

    Args:
        translation: The document being built.
        facts: The facts that each session started with, by token.
    """
    for span in translation.timeline.sessions:
        _add_session(translation, span, facts.get(span.token, {}))


def _add_session(translation: Translation, span: Span, facts: Mapping[str, Any]) -> None:
    builder, store_level = translation.builder, translation.store_level
    start = literals.instant(span.start_ns)
    attributes = _attributes(facts, _SESSION_TERMS, ("host", "user", "mlflow", "yprov_mlflow"))
    # A process without a rank counts as rank 0.
    if attributes["mlf:rank"] is None:
        attributes["mlf:rank"] = literals.integer(span.rank)
    host = facts.get("host")
    builder.activity(
        span.identifier,
        start,
        # Other runs of the process may call the store later than this document knows.
        None if store_level else literals.instant(span.end_ns or 0),
        ["mlf:RunSession"],
        _label(span, host),
        {
            **attributes,
            "mlf:token": text(span.token),
            "mlf:status": status(span.status),
            "dcterms:isPartOf": None if store_level else name(f"{RUN}:run"),
        },
    )
    # A run that is over starts nothing.
    if not span.after_end and not store_level:
        builder.was_started_by(span.identifier, f"{RUN}:run", start)
    if span.informant is not None:
        kind = "mlf:Resume" if span.resumed else None
        builder.was_informed_by(span.identifier, span.informant, kind)
    _add_agents(translation, span, facts)
    # The facts of the collector for hosts add the details, if it runs.
    if host:
        _use_host(translation, span, str(host), {})


def _label(span: Span, host: object) -> str:
    label = "after the end" if span.after_end else "session"
    if span.rank:
        label += f", rank {span.rank}"
    return text(f"{label} on {host}") if host else label


def status(value: str | None) -> literals.Value | None:
    """Return a status of MLflow as a term of the vocabulary, if it has one, or as text."""
    if value is None:
        return None
    return name(f"mlf:{value}") if value in _STATUSES else text(value)


def _add_agents(translation: Translation, span: Span, facts: Mapping[str, Any]) -> None:
    builder = translation.builder
    user = facts.get("user")
    person = translation.user(user) if user else None
    if person is not None:
        builder.was_associated_with(span.identifier, person, "mlf:operator")
    for key, package, role in _SOFTWARE:
        version = facts.get(key)
        if not version:
            continue
        agent = builder.agent(
            f"{STORE}:software/{package}/{segment(version)}",
            ["prov:SoftwareAgent"],
            text(f"{package} {version}"),
            {"schema:name": package, "schema:softwareVersion": text(version)},
        )
        # The plan is the user's code: it directs MLflow, not the recorder.
        plan = translation.plans.get(span.token) if package == "mlflow" else None
        builder.was_associated_with(span.identifier, agent, role, plan)
        if person is not None:
            builder.acted_on_behalf_of(agent, person, span.identifier)


def add_contexts(translation: Translation) -> None:
    """Add all contexts and epochs of the timeline."""
    builder = translation.builder
    for span in translation.timeline.contexts:
        last = span.path[-1]
        is_epoch = isinstance(last, int)
        start = literals.instant(span.start_ns)
        builder.activity(
            span.identifier,
            start,
            literals.instant(span.end_ns or 0),
            ["mlf:Epoch" if is_epoch else "mlf:Context"],
            f"epoch {last}" if is_epoch else text(last),
            {
                "schema:name": None if is_epoch else text(last),
                "mlf:epoch": literals.integer(last) if isinstance(last, int) else None,
                "mlf:failed": literals.boolean(True) if span.failed else None,
                "mlf:session": name(span.informant) if span.informant is not None else None,
                "dcterms:isPartOf": name(span.parent),
            },
        )
        builder.was_started_by(span.identifier, span.parent, start)


# -- facts of collectors -----------------------------------------------------------------


def add_facts(translation: Translation, event: FactsCollected, host: object) -> None:
    """Add the facts of a collector, used by the session from its start on."""
    span = translation.timeline.first_session(event.session)
    # The facts of git became the plan of associations, before all sessions were added.
    if span is None or event.collector == "git":
        return
    adder = _ADDERS.get(event.collector)
    if adder is not None:
        adder(translation, span, event.facts, host)
        return
    # A collector of another package.
    entity = f"{STORE}:facts/{segment(event.collector)}/{digest(dict(event.facts))}"
    attributes = {"mlf:facts": literals.canonical(dict(event.facts))}
    translation.builder.entity(entity, ["mlf:Facts"], text(event.collector), attributes)
    _use(translation, span, entity, "mlf:collected")


def code_plan(translation: Translation, facts: Mapping[str, Any]) -> str | None:
    """Add the code as a plan and return its entity; None if nothing is known of it."""
    facts = {key: value for key, value in facts.items() if value is not None}
    if not facts:
        return None
    commit = str(facts.get("commit") or "")
    label = str(facts.get("entry_point") or "code")
    return translation.builder.entity(
        content({"code": facts}),
        ["prov:Plan", "schema:SoftwareSourceCode"],
        text(f"{label} at {commit[:12]}" if commit else label),
        _attributes(facts, _CODE_TERMS),
    )


def _add_environment(
    translation: Translation, span: Span, facts: Mapping[str, Any], host: object
) -> None:
    packages = literals.mapping(facts.get("packages"))
    builder = translation.builder
    python = facts.get("python")
    entity = builder.entity(
        content({"environment": dict(facts)}),
        ["mlf:Environment", "prov:Collection"],
        text(f"Python {python}, {len(packages)} packages" if python else "environment"),
        _attributes(facts, _ENVIRONMENT_TERMS, ("packages",)),
    )
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
    entity = translation.builder.entity(
        host_id(host),
        ["sosa:Platform", "prov:Location", "mlf:Host"],
        text(host),
        _attributes(facts, _HOST_TERMS, ("host",)),
    )
    _use(translation, span, entity, "mlf:host")


def host_id(host: str) -> str:
    """Return the id of a host's entity."""
    return f"{STORE}:host/{digest(host)[:16]}"


def _use(translation: Translation, span: Span, entity: str, role: str) -> None:
    translation.builder.used(span.identifier, entity, literals.instant(span.start_ns), role)


_ADDERS: Mapping[str, Callable[[Translation, Span, Mapping[str, Any], object], None]] = {
    "environment": _add_environment,
    "host": _add_host,
}
