"""Code and artifact of each seed together weigh no more than the track allows, by each reading of the rule."""

from collections.abc import Iterator

from fairway.verify.facts import CODE, SOURCE, CodeFacts, Facts, FileFact, SeedFacts
from fairway.verify.finding import Finding, Rule, each_seed, failed, passed, review, unverifiable
from fairway.verify.sizes import Readings, readings_of


def _check(facts: Facts) -> Iterator[Finding]:
    def one(seed: SeedFacts) -> Iterator[Finding]:
        artifact, code = seed.need_artifact(), facts.need_code()
        told = readings_of(facts, seed)
        yield from _literal(facts, seed, code, artifact, told)
        if told.literal > facts.track.size.cap_bytes:
            yield _repacked(facts, seed, code, artifact, told)
        yield from _helpers(facts, seed, told)

    yield from each_seed(facts, one)


def _literal(facts: Facts, seed: SeedFacts, code: CodeFacts, artifact: FileFact, told: Readings) -> Iterator[Finding]:
    limit = facts.track.size
    place = {"file": artifact.path, "source": limit.source}
    parts = f"{code.file.size_bytes} ({CODE}) + {artifact.size_bytes} ({artifact.path}) = {told.literal} bytes"
    others = f"all code {told.all_code}, claimed {_known(told.claimed)}, repacked {_known(told.repacked)}"
    total = f"seed {seed.seed}: {parts}"
    if told.literal > limit.cap_bytes:
        over = told.literal - limit.cap_bytes
        yield failed(f"{total}, {over} over the cap of {limit.cap_bytes} ({others})", profile="strict", **place)
    elif told.literal >= limit.review_from_bytes:
        spare = limit.cap_bytes - told.literal
        yield review(f"{total}, only {spare} below the cap of {limit.cap_bytes} ({others})", **place)
    else:
        yield passed(f"{total}, the cap is {limit.cap_bytes} ({others})", **place)


def _repacked(facts: Facts, seed: SeedFacts, code: CodeFacts, artifact: FileFact, told: Readings) -> Finding:
    """Accepted records counted a packed file that they did not ship; here it is made and unpacked again."""
    cap = facts.track.size.cap_bytes
    if told.repacked is None:
        return unverifiable(
            f"seed {seed.seed}: {CODE} {code.hidden}, so nothing says how small it packs",
            profile="precedent",
            file=CODE,
        )
    say = passed if told.repacked <= cap else failed
    message = f"seed {seed.seed}: repacked, code and artifact are {told.repacked} bytes, the cap is {cap}"
    return say(message, profile="precedent", file=artifact.path)


def _helpers(facts: Facts, seed: SeedFacts, told: Readings) -> Iterator[Finding]:
    """Code that is neither what ran nor its source may be needed to run; counted, it must fit as well."""
    helpers = sorted(facts.code_files().keys() - {CODE, SOURCE}) if facts.scope == "record" else []
    without_source = told.all_code - facts.code_files().get(SOURCE, 0)
    if helpers and without_source > facts.track.size.cap_bytes:
        names = ", ".join(helpers[:3])
        yield review(f"seed {seed.seed}: with {names} counted as code, {without_source} bytes", file=helpers[0])


def _known(size_bytes: int | None) -> str:
    return "unknown" if size_bytes is None else str(size_bytes)


RULE = Rule(
    id="size-cap",
    why="The challenge is what fits; each seed must fit, the files on disk count, and a megabyte is decimal.",
    source="README FAQ: code plus compressed model, counted code in train_gpt.py (rules 1.1)",
    scope="seed",
    check=_check,
)
