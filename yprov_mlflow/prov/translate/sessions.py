"""Sessions and contexts of a run; the software, code, environment and host of a session."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from yprov_mlflow.prov.authorship import TABLE
from yprov_mlflow.prov.events import (
    CODE_FACTS,
    DELIVERY_FACTS,
    JOURNAL_FACTS,
    NOTEBOOK_FACTS,
    OVERLAP_FACTS,
    WORKFLOW_FACTS,
    FactsCollected,
)
from yprov_mlflow.prov.model import literals
from yprov_mlflow.prov.model.builder import Builder
from yprov_mlflow.prov.model.identifiers import RUN, STORE, content, digest, segment
from yprov_mlflow.prov.model.literals import Value, name, plain, text
from yprov_mlflow.prov.translate.timeline import Span
from yprov_mlflow.prov.translate.translation import Translation

FactsBySession = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""For each session token the facts of each collector; ``session`` has the session's own."""

_STATUSES = frozenset("DELETED FAILED FINISHED KILLED PENDING READY RUNNING SCHEDULED".split())
"""Statuses of runs and models that the vocabulary has."""

# The facts about code became the plan of associations, before all sessions were added; those of the
# journal are attributes of the session, overlaps those of the energy of the node, and what the
# project file states is about the run. Those of delivery are for ``recover``.
_ELSEWHERE = frozenset({"git", NOTEBOOK_FACTS, JOURNAL_FACTS, OVERLAP_FACTS, DELIVERY_FACTS, TABLE})

_SOFTWARE = {"mlflow": "mlf:tracker", "yprov_mlflow": "mlf:recorder"}
"""The roles of packages, by the facts that are their versions."""

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
_NOT_OF_SESSIONS = ("host", "user", "mlflow", "yprov_mlflow", "heartbeat")
"""Facts of a session that its attributes do not have."""

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


def attributes_of(
    facts: Mapping[str, Any], terms: Mapping[str, str], exclude: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Return facts as attributes: those with a term by it, all others as one JSON text."""
    attributes: dict[str, Any] = {term: plain(facts.get(key)) for key, term in terms.items()}
    without = {*terms, *exclude}
    others = {k: v for k, v in facts.items() if k not in without and v is not None}
    if others:
        attributes["mlf:facts"] = literals.canonical(others)
    return attributes


def add_sessions(translation: Translation, facts: FactsBySession) -> None:
    """Add all sessions of the timeline."""
    for span in translation.timeline.sessions:
        _add_session(translation, span, facts.get(span.token, {}))


def partial(problems: Iterable[object]) -> list[Value] | None:
    """Return the value of ``mlf:partial``: what the journal of a session lacks."""
    return [text(problem) for problem in problems] or None


def _add_session(
    translation: Translation, span: Span, collected: Mapping[str, Mapping[str, Any]]
) -> None:
    facts = collected.get("session", {})
    builder, store_level = translation.builder, translation.store_level
    lost = collected.get(JOURNAL_FACTS, {})
    # The first event that is left need not be the first that was.
    start = literals.instant(span.start_ns) if facts or not lost else None
    attributes = {
        **attributes_of(facts, _SESSION_TERMS, _NOT_OF_SESSIONS),
        "mlf:token": text(span.token),
        "mlf:status": status(span.status),
        "mlf:partial": partial(lost.get("problems", ())),
        "mlf:refused": translation.refusals.pop(span.token, None),
        **_code_attributes(collected),
        **(span.ending.attributes if span.ending is not None else {}),
        "dcterms:isPartOf": None if store_level else name(f"{RUN}:run"),
    }
    host = facts.get("host")
    # Other runs of the process may call the store later than this document knows.
    end = None if store_level else literals.instant(span.end_ns or 0)
    label = "after the end" if span.after_end else "session"
    label += f", rank {span.rank}" if span.rank else ""
    label = text(f"{label} on {host}") if host else label
    builder.activity(span.identifier, start, end, ["mlf:RunSession"], label, attributes)
    if span.after_end:  # a run that is over starts nothing
        builder.was_influenced_by(span.identifier, f"{RUN}:run")
    elif not store_level:
        builder.was_started_by(span.identifier, f"{RUN}:run", start)
    if span.informant is not None:
        kind = "mlf:Resume" if span.resumed else None
        builder.was_informed_by(span.identifier, span.informant, kind)
    _add_agents(translation, span, facts)
    # The facts of the collector for hosts add the details, if it runs.
    if host:
        _use_host(translation, span, str(host), {})


def status(value: str | None) -> literals.Value | None:
    """Return a status of MLflow as a term of the vocabulary, if it has one, or as text."""
    if value is None:
        return None
    return name(f"mlf:{value}") if value in _STATUSES else text(value)


def _code_attributes(collected: Mapping[str, Mapping[str, Any]]) -> dict[str, Value | None]:
    """Return how a session was started and which files of its code were not kept."""
    facts, cells = collected.get(CODE_FACTS, {}), collected.get(NOTEBOOK_FACTS, {})
    invocation, not_kept = facts.get("invocation"), facts.get("not_kept")
    return {
        "mlf:invocation": text(literals.canonical(invocation)) if invocation else None,
        "mlf:codeNotKept": text(literals.canonical(not_kept)) if not_kept else None,
        "mlf:firstCell": plain(cells.get("first_cell")),
        "mlf:lastCell": plain(cells.get("last_cell")),
    }


def _add_agents(translation: Translation, span: Span, facts: Mapping[str, Any]) -> None:
    builder = translation.builder
    user = facts.get("user")
    person = translation.user(user) if user else None
    if person is not None:
        builder.was_associated_with(span.identifier, person, "mlf:operator")
    code = translation.plans.get(span.token)
    if code is not None:
        _use(translation, span, code, "mlf:code")
    for key, role in _SOFTWARE.items():
        if not facts.get(key):
            continue
        agent = add_software(builder, key.replace("_", "-"), str(facts[key]))
        # The plan is the user's code: it directs MLflow, not the recorder.
        plan = code if key == "mlflow" else None
        builder.was_associated_with(span.identifier, agent, role, plan)
        if person is not None:
            builder.acted_on_behalf_of(agent, person, span.identifier)


def add_software(builder: Builder, package: str, version: str) -> str:
    """Add the agent of a version of a package and return its id."""
    identifier = f"{STORE}:software/{segment(package)}/{segment(version)}"
    label = text(f"{package} {version}".strip())
    attributes = {"schema:name": text(package), "schema:softwareVersion": text(version) or None}
    return builder.agent(identifier, ["prov:SoftwareAgent"], label, attributes)


def add_contexts(translation: Translation) -> None:
    """Add all contexts and epochs of the timeline."""
    builder = translation.builder
    for span in translation.timeline.contexts:
        last = span.path[-1]
        epoch = last if isinstance(last, int) else None
        start, end = literals.instant(span.start_ns), literals.instant(span.end_ns or 0)
        types = ["mlf:Context" if epoch is None else "mlf:Epoch"]
        label = text(last) if epoch is None else f"epoch {epoch}"
        attributes = {
            "schema:name": label if epoch is None else None,
            "mlf:epoch": plain(epoch),
            "mlf:failed": literals.boolean(True) if span.failed else None,
            "mlf:session": name(span.informant) if span.informant is not None else None,
            "dcterms:isPartOf": name(span.parent),
        }
        builder.activity(span.identifier, start, end, types, label, attributes)
        builder.was_started_by(span.identifier, span.parent, start)


def add_facts(translation: Translation, event: FactsCollected) -> None:
    """Add the facts of a collector, used by the session from its start on."""
    span, facts = translation.timeline.first_session(event.session), event.facts
    if span is None or event.collector in _ELSEWHERE:
        return
    if event.collector == CODE_FACTS:
        # Kept files became members of the plan; what is left is why there are none.
        left = {key: facts[key] for key in ("problem", "unavailable", "cure") if facts.get(key)}
        if left:
            _add_other_facts(translation, span, event.collector, left)
    elif event.collector == "environment":
        _add_environment(translation, span, facts)
    elif event.collector == WORKFLOW_FACTS:
        # Tasks became activities; what is left are values that could not be used.
        if problems := facts.get("problems"):
            _add_other_facts(translation, span, event.collector, {"problems": problems})
    elif event.collector == "host":
        host = facts.get("host") or translation.hosts.get(span.token, "unknown")
        _use_host(translation, span, str(host), facts)
    else:  # a collector of another package
        _add_other_facts(translation, span, event.collector, facts)


def _add_other_facts(
    translation: Translation, span: Span, collector: str, facts: Mapping[str, Any]
) -> None:
    entity = f"{STORE}:facts/{segment(collector)}/{digest(dict(facts))}"
    attributes = {"mlf:facts": literals.canonical(dict(facts))}
    translation.builder.entity(entity, ["mlf:Facts"], text(collector), attributes)
    _use(translation, span, entity, "mlf:collected")


def _add_environment(translation: Translation, span: Span, facts: Mapping[str, Any]) -> None:
    python = facts.get("python")
    packages = literals.mapping(facts.get("packages"))
    label = text(f"Python {python}, {len(packages)} packages" if python else "environment")
    # One text: a record for each package would be most of a small document.
    lock = sorted(f"{package}=={v}" if v else str(package) for package, v in packages.items())
    attributes = {
        **attributes_of(facts, _ENVIRONMENT_TERMS, ("packages",)),
        "mlf:packages": text("\n".join(lock)) if lock else None,
        "mlf:packageCount": literals.integer(len(lock)) if lock else None,
    }
    identifier = content({"environment": dict(facts)})
    environment = translation.builder.entity(identifier, ["mlf:Environment"], label, attributes)
    _use(translation, span, environment, "mlf:environment")


def _use_host(translation: Translation, span: Span, host: str, facts: Mapping[str, Any]) -> None:
    types = ["sosa:Platform", "prov:Location", "mlf:Host"]
    attributes = attributes_of(facts, _HOST_TERMS, ("host",))
    entity = translation.builder.entity(host_id(host), types, text(host), attributes)
    _use(translation, span, entity, "mlf:host")


def host_id(host: str) -> str:
    """Return the id of a host's entity."""
    return f"{STORE}:host/{digest(host)[:16]}"


def _use(translation: Translation, span: Span, entity: str, role: str) -> None:
    translation.builder.used(span.identifier, entity, literals.instant(span.start_ns), role)
