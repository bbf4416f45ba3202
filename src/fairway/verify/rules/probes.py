"""Trials of the evaluation: their verdicts follow from their numbers, and speak of these very files."""

import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from typing import Any

from fairway.verify import schemas
from fairway.verify.documents import document_starts
from fairway.verify.facts import CODE, ENVIRONMENT, PROBE, RECIPE, Facts, NoEvidence, SeedFacts
from fairway.verify.finding import Finding, Rule, each_seed, failed, passed, unverifiable

PROBES = (
    "a-a",
    "future-flip",
    "self-flip",
    "truncation",
    "document-boundary",
    "sum-to-one",
    "uniform-stream",
    "order",
    "zero-rate",
)
"""Every probe there is; a seed that was probed was probed by all of them."""

NOISE_MULTIPLE = 4
MOST_NOISE = {"cpu": 0.0, "cuda": 0.05}
"""Nats by which two equal runs may differ, by kind of device."""
MOST_LOG_SUM = 1e-4
"""Nats by which the probabilities of all tokens may miss a sum of one."""
STANDARD_ERRORS = 4
BITS_SHARE, BITS_MORE = 0.001, 64
"""By how much a bitstream may differ from the losses that it was coded with: a share of them, and so many bits."""
_AT_LEAST = frozenset({"uniform-stream"})
_MOST_SPREAD = 10.0
"""Nats; no standard deviation of losses on evenly drawn tokens is larger, which bounds their limit from below."""
_RELATIVE = 1e-9
_ROUNDING_S = 0.5


def _check(facts: Facts) -> Iterator[Finding]:
    probed = [seed for seed in facts.seeds.values() if seed.folder + PROBE in facts.files]
    if facts.seeds and not probed:
        raise NoEvidence("no seed was probed: no trial shows that its evaluation is causal")
    yield from each_seed(facts, lambda seed: _one(facts, seed))


def _one(facts: Facts, seed: SeedFacts) -> Iterator[Finding]:
    file = seed.folder + PROBE
    if file not in facts.files:
        yield failed("is missing, though other seeds were probed", file=file)
        return
    told = seed.probe
    if told is None or schemas.violations("probe", told, most=1):
        raise NoEvidence("is not as it must be, so it shows nothing", file)
    findings = [*_same_run(facts, seed, told), *_stream(facts, seed, told), *_probes(facts, seed, told)]
    findings += _from_outside(facts, seed, told)
    decoded, words = told["decode"], ""
    if decoded is not None:
        findings += _decoded(decoded, file)
        words = f"; {decoded['targets']} targets decoded from {decoded['stream_bits']} bits"
    yield from findings
    if not findings:
        asked = [each for each in told["probes"] if each["verdict"] == "passed"]
        yield passed(
            f"seed {seed.seed}: {len(asked)} probes passed, {len(PROBES) - len(asked)} do not apply, noise floor"
            f" {told['noise_floor']:.3g} nats on {told['device']}, {told['stream']['documents']} documents{words}",
            file=file,
        )
        if decoded is None:
            yield unverifiable(f"seed {seed.seed}: nothing was decoded from a bitstream", file=file)


def _same_run(facts: Facts, seed: SeedFacts, told: Mapping[str, Any]) -> Iterator[Finding]:
    """It speaks of the recipe, the code, the artifact, the seed and the method of this record."""
    file = seed.folder + PROBE
    _, opening, _ = seed.whole_ledger()
    for key, due, where in (
        ("recipe_sha256", facts.need_recipe().get("sha256"), RECIPE),
        ("code_sha256", facts.need_code().file.sha256, CODE),
        ("artifact_sha256", seed.need_artifact().sha256, seed.need_artifact().path),
        ("seed", seed.seed, "its folder"),
    ):
        if told[key] != due:
            yield failed(f"{key} is {str(told[key])[:12]}, that of {where} is {str(due)[:12]}", file=file)
    for key in sorted({*told["method"], *opening.method}):
        said, due = told["method"].get(key), opening.method.get(key)
        if said != due:
            yield failed(f"probed a method with {key} {said}, the ledger has {due}", file=file)


def _from_outside(facts: Facts, seed: SeedFacts, told: Mapping[str, Any]) -> Iterator[Finding]:
    """Where a watcher saw the probes run: they ended well, in no less time, and were shown no training shards."""
    record = facts.environment
    if record is None or schemas.violations("environment", record, most=1):
        return
    for seen in record["stages"]:
        if (seen["seed"], seen["stage"]) != (seed.seed, "probe"):
            continue
        where = f"seed {seed.seed}: the probes"
        if seen["exit_status"]:
            yield failed(f"{where} ended with status {seen['exit_status']}", file=ENVIRONMENT)
        if told["seconds"] > seen["seconds"] + _ROUNDING_S:
            took = f"{told['seconds']:.1f} s by their own clock, {seen['seconds']:.1f} s by the clock outside"
            yield failed(f"{where} took {took}", file=ENVIRONMENT)
        for path in seen["isolation"].get("reads", ()):
            if path.rstrip("/").endswith("/train") or "_train_" in path:
                yield failed(f"{where} were shown training shards: {path}", file=ENVIRONMENT)


def _stream(facts: Facts, seed: SeedFacts, told: Mapping[str, Any]) -> Iterator[Finding]:
    """The probed documents are validation documents, all of them or a part.

    A part, or documents that were cut, has another digest than the whole, which cannot be checked without the tokens;
    what is compared are the counts, and the digest where the counts are those of the whole.
    """
    file, stream = seed.folder + PROBE, told["stream"]
    _, opening, _ = seed.whole_ledger()
    if stream["source"] != "validation":
        yield failed(f"the probed stream is {stream['source']}, must be of the validation documents", file=file)
    for key, most in (("documents", opening.documents), ("targets", opening.targets)):
        if stream[key] > most:
            yield failed(f"{stream[key]} {key} were probed, the ledger has {most}", file=file)
    if stream["targets"] < stream["documents"] - 1:
        yield failed(f"{stream['documents']} documents cannot have {stream['targets']} targets", file=file)
    whole = (stream["documents"], stream["targets"]) == (opening.documents, opening.targets)
    if whole != (stream["tokens_sha256"] == opening.tokens_sha256):
        yield failed(
            f"{stream['documents']} documents with {stream['targets']} targets have tokens"
            f" {stream['tokens_sha256'][:12]}, the ledger has {opening.documents} with {opening.targets} and"
            f" {opening.tokens_sha256[:12]}",
            file=file,
        )
    if facts.documents is not None:
        longest = sorted((row.tokens for row in facts.documents.of("val")), reverse=True)
        most = sum(longest[: stream["documents"]]) - 1
        if stream["targets"] > most:
            yield failed(
                f"{stream['documents']} documents have {stream['targets']} targets, by {facts.documents.file} at most"
                f" {most}",
                file=file,
            )


def _probes(facts: Facts, seed: SeedFacts, told: Mapping[str, Any]) -> Iterator[Finding]:
    """Each probe was made; its limit is the limit, its verdict what its numbers say, and that is not ``failed``."""
    file = seed.folder + PROBE
    names = [each["name"] for each in told["probes"]]
    for name in PROBES:
        if names.count(name) != 1:
            yield failed(f"probe {name} stands {names.count(name)} times, must once", file=file)
    for name in sorted(set(names) - set(PROBES)):
        yield failed(f"there is no probe {name}", file=file)
    for each in told["probes"]:
        yield from _limit(facts, each, told, file)
        yield from _verdict(each, file)
    yield from _applies(facts, seed, told, file)
    floor = next((each["measured"] for each in told["probes"] if each["name"] == "a-a"), told["noise_floor"])
    if floor != told["noise_floor"]:
        yield failed(f"the noise floor is {told['noise_floor']}, probe a-a measured {floor}", file=file)


def _verdict(each: Mapping[str, Any], file: str) -> Iterator[Finding]:
    """Whoever says ``failed`` is believed; ``passed`` must follow from the numbers."""
    name, measured, limit, samples = each["name"], each["measured"], each["limit"], each["samples"]
    numbers = f"measured {measured} {each['unit']}, limit {limit}, {samples} samples"
    within = measured >= limit if name in _AT_LEAST else measured <= limit
    due = "not-applicable" if not samples else "passed" if within else "failed"
    if each["verdict"] == "failed":
        yield failed(f"probe {name} failed: {numbers}: {' '.join(each['because'].split())[:300]}", file=file)
    elif each["verdict"] != due:
        yield failed(f"probe {name} says {each['verdict']}; by its numbers it is {due}: {numbers}", file=file)


def _limit(facts: Facts, each: Mapping[str, Any], told: Mapping[str, Any], file: str) -> Iterator[Finding]:
    """Its limit is not looser than the one that is asked for."""
    name, limit = each["name"], each["limit"]
    device = str(told["device"]).partition(":")[0]
    if not each["samples"] or name not in PROBES:
        return
    if name in _AT_LEAST:
        entropy = math.log(_vocab_size(facts) - 1)
        least = entropy - STANDARD_ERRORS * _MOST_SPREAD / math.sqrt(each["samples"]) - told["noise_floor"]
        if not least <= limit <= entropy:
            yield failed(
                f"probe {name} has limit {limit} {each['unit']}; {each['samples']} tokens drawn evenly give one of"
                f" {least:.4f} to {entropy:.4f}",
                file=file,
            )
        return
    most = {"a-a": MOST_NOISE.get(device, 0.0), "sum-to-one": MOST_LOG_SUM, "order": 0.0}.get(
        name, NOISE_MULTIPLE * told["noise_floor"]
    )
    if limit > most * (1 + _RELATIVE):
        yield failed(f"probe {name} has limit {limit} {each['unit']} on {device}, must be {most} at most", file=file)


def _vocab_size(facts: Facts) -> int:
    recipe = facts.need_recipe().get("recipe")
    model = recipe.get("model") if isinstance(recipe, dict) else None
    size = model.get("vocab_size") if isinstance(model, dict) else None
    if not isinstance(size, int) or isinstance(size, bool) or size < 3:
        raise NoEvidence("has no vocab_size to compare the uniform stream with", RECIPE)
    return size


def _applies(facts: Facts, seed: SeedFacts, told: Mapping[str, Any], file: str) -> Iterator[Finding]:
    """What can be asked of the method was asked: of one that learns, and of one that keeps documents apart."""
    ledger, _, _ = seed.whole_ledger()
    silent = {each["name"] for each in told["probes"] if not each["samples"]} & set(PROBES)
    for name in sorted(silent - {"document-boundary", "zero-rate"}):
        yield failed(f"probe {name} looked at nothing, and can be asked of every method", file=file)
    if "zero-rate" in silent and ledger.learned:
        yield failed(f"probe zero-rate looked at nothing, but the ledger has {len(ledger.learned)} updates", file=file)
    if "document-boundary" in silent and told["stream"]["documents"] > 1 and facts.documents is not None:
        starts = document_starts(facts.documents.of("val"))
        if all(bisect_right(starts, span.context) == bisect_right(starts, span.stop - 2) for span in ledger.scored):
            yield failed("probe document-boundary looked at nothing, but no span of the ledger crosses one", file=file)


def _decoded(decoded: Mapping[str, Any], file: str) -> Iterator[Finding]:
    """The stream is as long as the losses say, and what came out of it is what went in."""
    bits, due = decoded["stream_bits"], decoded["ledger_bits"]
    slack = due * BITS_SHARE + BITS_MORE
    well = decoded["identical"] and abs(bits - due) <= slack and decoded["targets"] > 0
    if not math.isclose(decoded["limit_bits"], due + slack, rel_tol=_RELATIVE, abs_tol=1.0):
        yield failed(
            f"decode has limit {decoded['limit_bits']} bits, {due} of losses give {due + slack:.1f}", file=file
        )
    numbers = (
        f"{bits} bits for {due} of losses, {decoded['targets']} targets, identical: {str(decoded['identical']).lower()}"
    )
    if decoded["verdict"] == "failed":
        yield failed(f"decode failed: {numbers}: {' '.join(decoded['because'].split())[:300]}", file=file)
    elif decoded["verdict"] != "passed" or not well:
        is_what = "passed" if well else "failed"
        yield failed(f"decode says {decoded['verdict']}; by its numbers it {is_what}: {numbers}", file=file)


RULE = Rule(
    id="probes",
    why="A ledger shows in which order an evaluation says that it did things; whether a loss depends on what comes"
    " later shows only when that is changed.",
    source="rules 2.2 C1 to C5, C10 (#1017): future-flip, self-flip, truncation, sums over all tokens; fairway: fairway"
    " probe",
    scope="record",
    check=_check,
    fix="Probe each seed with `fairway probe` after the artifact was made, and make the record again.",
)
