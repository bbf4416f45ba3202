"""A statement of provenance speaks of these bytes, of this recipe and this data; a signature on it holds."""

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any

from fairway.verify.facts import CHECKSUMS, ENVELOPE, MANIFEST, STATEMENT, VERDICT, Facts
from fairway.verify.finding import Finding, Rule, failed, passed, unverifiable
from fairway.verify.outside import environments

_BUILD_TYPE = "urn:fairway:record:v1"
_MOST_NAMED = 5
_TYPES = {"_type": "https://in-toto.io/Statement/v1", "predicateType": "https://slsa.dev/provenance/v1"}


def _check(facts: Facts) -> Iterator[Finding]:
    if facts.statement is None:
        if ENVELOPE in facts.files:
            yield failed(f"is there without {STATEMENT}, which it signs", file=ENVELOPE)
        else:
            yield passed("no statement of provenance is in the folder, and none is asked for")
        return
    findings = [*_shape(facts.statement)]
    if not findings:
        findings = [*_subjects(facts, facts.statement), *_rest(facts, facts.statement)]
    findings += _signature(facts)
    yield from findings
    if not any(finding.verdict == "FAIL" for finding in findings):
        yield passed(f"{len(facts.statement['subject'])} files are as the statement says", file=STATEMENT)


def _shape(statement: Mapping[str, Any]) -> Iterator[Finding]:
    for key, wanted in _TYPES.items():
        if statement.get(key) != wanted:
            yield failed(f"{key} must be {wanted}, is {str(statement.get(key))[:80]}", file=STATEMENT)
    subjects = statement.get("subject")
    well = isinstance(subjects, list) and all(
        isinstance(each, dict) and isinstance(each.get("name"), str) and isinstance(each.get("digest"), dict)
        for each in subjects
    )
    if not well:
        yield failed("subject must be a list of names with digests", file=STATEMENT)


def _subjects(facts: Facts, statement: Mapping[str, Any]) -> Iterator[Finding]:
    told = {each["name"]: each["digest"].get("sha256") for each in statement["subject"]}
    unlike = 0
    for name, sha256 in told.items():
        unlike += name not in facts.files or facts.files[name].sha256 != sha256
        if name not in facts.files:
            yield failed(f"is a subject of {STATEMENT} but not in the folder", file=name)
        elif facts.files[name].sha256 != sha256:
            found = facts.files[name].sha256[:12]
            yield failed(f"has SHA-256 {found}, {STATEMENT} says {str(sha256)[:12]}", file=name)
    if unlike:
        yield failed(f"speaks of {unlike} files otherwise than they lie here", file=STATEMENT)
    for name in sorted(facts.files.keys() - told.keys() - {STATEMENT, ENVELOPE, VERDICT}):
        yield failed(f"is no subject of {STATEMENT}", file=name)


def _rest(facts: Facts, statement: Mapping[str, Any]) -> Iterator[Finding]:
    """Everything else follows from the folder too, and is derived here once more."""
    wanted = {**_TYPES, "subject": statement["subject"], "predicate": _predicate(facts)}
    lines = [*_unlike(wanted, statement, "")]
    for line in lines[:_MOST_NAMED]:
        yield failed(line, file=STATEMENT)
    if not lines and facts.statement_text != json.dumps(wanted, indent=1, sort_keys=True, ensure_ascii=False) + "\n":
        yield failed("is not spelled as it is written: somebody has touched it", file=STATEMENT)


def _predicate(facts: Facts) -> dict[str, Any]:
    resolved, claim = facts.need_recipe(), facts.need_submission()
    sums = facts.files.get(CHECKSUMS)
    return {
        "buildDefinition": {
            "buildType": _BUILD_TYPE,
            "externalParameters": {
                "recipe": resolved["recipe"]["name"],
                "recipe_sha256": resolved["sha256"],
                "seeds": claim.get("seeds"),
                "track": claim.get("track"),
            },
            "resolvedDependencies": _materials(facts),
        },
        "runDetails": {"builder": {"id": _BUILD_TYPE}, "metadata": {"invocationId": sums.sha256 if sums else None}},
    }


def _materials(facts: Facts) -> list[dict[str, Any]]:
    manifest = facts.files.get(MANIFEST)
    found: list[dict[str, Any]] = [{"name": MANIFEST, "digest": {"sha256": manifest.sha256 if manifest else None}}]
    found += [{"name": each["file"], "digest": {"sha256": each["sha256"]}} for each in facts.need_manifest()["shards"]]
    for place in environments(facts) if facts.environment is not None else ():
        found += [{"name": name, "digest": {"sha256": sha256}} for name, sha256 in sorted(place["locks"].items())]
        if place["git"] is not None:
            found.append({"name": "source", "digest": {"gitCommit": place["git"].get("revision")}})
        if place["image"] not in ("none", "unknown"):
            found.append({"name": "image", "uri": place["image"]})
    return [each for number, each in enumerate(found) if each not in found[:number]]


def _unlike(wanted: object, told: object, path: str) -> Iterator[str]:
    if isinstance(wanted, dict) and isinstance(told, dict):
        for key in sorted({*wanted, *told}):
            yield from _unlike(wanted.get(key), told.get(key), f"{path}.{key}" if path else str(key))
    elif wanted != told:
        yield f"{path} must be {str(wanted)[:100]}, is {str(told)[:100]}"


def _signature(facts: Facts) -> Iterator[Finding]:
    if facts.envelope is None:
        if facts.public_key is not None:
            yield failed("is missing, so nothing is signed with the key that was given", file=ENVELOPE)
        return
    try:
        envelope = json.loads(facts.envelope)
        payload = base64.b64decode(envelope["payload"], validate=True).decode()
    except (ValueError, KeyError, TypeError) as error:
        yield failed(f"is no DSSE envelope: {error}", file=ENVELOPE)
        return
    if payload != facts.statement_text:
        yield failed(f"holds another statement than {STATEMENT}", file=ENVELOPE)
    if facts.public_key is None:
        yield unverifiable("is signed; give the signer's key (--public-key) to check by whom", file=ENVELOPE)
        return
    reason = _refused(envelope, facts.public_key)
    if reason:
        yield failed(f"is not signed with the key that was given: {reason}", file=ENVELOPE)
    else:
        yield passed("is signed with the key that was given", file=ENVELOPE)


def _refused(envelope: dict[str, Any], public_key: bytes) -> str:
    """Why a signature does not hold; empty where it does. The library is imported where there is a key alone."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import Error
    from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined]

    try:
        key = SSlibKey.from_crypto(load_pem_public_key(public_key))
    except (ValueError, UnsupportedAlgorithm, Error) as error:
        return f"the key cannot be read: {error}"
    try:
        Envelope.from_dict(envelope).verify([key], 1)
    except (Error, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


RULE = Rule(
    id="provenance",
    why="A record that cannot be traced to what it was made from has to be believed.",
    source="in-toto Attestation Framework (Statement v1), SLSA v1.1 provenance; fairway: fairway attest",
    scope="record",
    check=_check,
    fix="Write it again with `fairway attest` after the last change of the folder.",
)
