"""Check RO-Crates with roc-validator, and print a table of issues by profile.

``python tests/peers/check_crates.py FOLDER…`` needs ``roc-validator`` and ``rocrate``, and no
network. It exits with 1 if a crate lacks anything that a profile requires, or that it
recommends and the documents in the crate state.
"""

from __future__ import annotations

import io
import json
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import rocrate
from requests.adapters import HTTPAdapter
from requests_cache import CachedSession
from rocrate_validator import services
from rocrate_validator.models import Severity
from urllib3 import HTTPResponse

CONTEXT = "https://w3id.org/ro/crate/1.1/context"
BIOSCHEMAS = "https://bioschemas.org/"
PROFILES = {
    "https://w3id.org/ro/wfrun/process/": "process-run-crate",
    "https://w3id.org/ro/wfrun/workflow/": "workflow-run-crate",
    "https://w3id.org/ro/wfrun/provenance/": "provenance-run-crate",
}


class _Shipped(HTTPAdapter):
    """Answers with the JSON-LD context that the library rocrate ships.

    It is of version 1.3, which has all terms of 1.1 that crates of runs use. Only those of
    Bioschemas have other IRIs in 1.1.
    """

    def send(self, request, **_):
        context = Path(rocrate.__file__).parent / "data/ro-crate.jsonld"
        text = context.read_text("utf-8").replace(f"{BIOSCHEMAS}terms/", BIOSCHEMAS)
        body, headers = io.BytesIO(text.encode()), {"Content-Type": "application/ld+json"}
        raw = HTTPResponse(body, headers, 200, preload_content=False, request_url=request.url)
        return self.build_response(request, raw)


UNAVOIDABLE = "The SoftwareApplication id SHOULD be an absolute URI"
"""Of crates with a workflow: it must be a file of the crate, whose id is relative."""

FACTS = {
    "endTime in ISO": ("prov:endTime",),
    "SHOULD have a result": ("mlf:MetricSeries", "mlf:Artifact", "mlf:LoggedModel"),
    "a version or softwareVersion": ("mlf:Environment",),
}
"""Recommendations, and the terms of which a document has one if it states the fact."""


def is_unknown(crate: Path, issue: str) -> bool:
    """Return whether the documents in a crate lack the fact that an issue asks for."""
    terms = next((terms for text, terms in FACTS.items() if text in issue), None)
    run = re.search(r"#run/([^)/]+)", issue)
    if terms is None:
        return UNAVOIDABLE in issue
    for path in crate.rglob("provenance/prov.json"):
        document = json.loads(path.read_bytes())
        activity = document["activity"].get("run:run", {})
        if run is not None and activity.get("mlf:runId") != run[1]:
            continue
        facts = json.dumps(activity if terms == ("prov:endTime",) else document["entity"])
        if any(f'"{term}"' in facts for term in terms):
            return False
    return True


def profiles_of(crate: Path) -> Iterator[str]:
    """Yield the profiles that a crate claims to conform to."""
    graph = json.loads((crate / "ro-crate-metadata.json").read_bytes())["@graph"]
    ids = [entity["@id"] for entity in graph]
    yield "ro-crate-1.1"
    for prefix, profile in PROFILES.items():
        if any(identifier.startswith(prefix) for identifier in ids):
            yield profile


def issues(crate: Path, profile: str, cache: Path) -> list[str]:
    """Return what a profile requires or recommends, and the crate lacks."""
    result = services.validate(
        services.ValidationSettings(
            rocrate_uri=str(crate),
            profile_identifier=profile,
            requirement_severity=Severity.RECOMMENDED,
            offline=True,
            cache_path=cache,
        )
    )
    return sorted(
        {f"{i.severity.name}: {i.message} ({i.violatingEntity})" for i in result.get_issues()}
    )


def main(crates: list[str]) -> int:
    """Print a line per crate and profile, then the issues."""
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder, "cache")
        with CachedSession(str(cache), backend="sqlite", expire_after=-1) as session:
            session.mount(CONTEXT, _Shipped())
            session.get(CONTEXT)
        print(f"{'issues':>6}  {'profile':<22} crate")
        for crate in map(Path, crates):
            for profile in profiles_of(crate):
                lines = issues(crate, profile, cache)
                avoidable = [line for line in lines if not is_unknown(crate, line)]
                failed = failed or bool(avoidable)
                note = f" ({len(lines) - len(avoidable)} not known)" if avoidable != lines else ""
                print(f"{len(avoidable):>6}  {profile:<22} {crate}{note}")
                for line in avoidable:
                    print(f"        {line}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
