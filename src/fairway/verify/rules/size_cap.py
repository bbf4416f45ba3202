"""Code and artifact of each seed together weigh no more than the track allows."""

from collections.abc import Iterator

from fairway.verify.facts import Facts, SeedFacts
from fairway.verify.finding import Finding, Rule, each_seed, failed, passed, review


def _check(facts: Facts) -> Iterator[Finding]:
    limit = facts.track.size

    def one(seed: SeedFacts) -> Iterator[Finding]:
        artifact = seed.need_artifact()
        code_bytes, code_file = facts.code_bytes(seed)
        total = code_bytes + artifact.size_bytes
        sum_of = (
            f"seed {seed.seed}: {code_bytes} ({code_file}) + {artifact.size_bytes} ({artifact.path}) = {total} bytes"
        )
        if total > limit.cap_bytes:
            over = total - limit.cap_bytes
            yield failed(f"{sum_of}, {over} over the cap of {limit.cap_bytes}", file=artifact.path, source=limit.source)
        elif total >= limit.review_from_bytes:
            spare = limit.cap_bytes - total
            yield review(
                f"{sum_of}, only {spare} below the cap of {limit.cap_bytes}", file=artifact.path, source=limit.source
            )
        else:
            yield passed(f"{sum_of}, the cap is {limit.cap_bytes}", file=artifact.path, source=limit.source)

    yield from each_seed(facts, one)


RULE = Rule(
    id="size-cap",
    why="The challenge is what fits; each seed must fit, the files on disk count, and a megabyte is decimal.",
    source="README FAQ: code plus compressed model (rules 1.1)",
    scope="seed",
    check=_check,
)
