"""As many seeds as the track asks for, those of the recipe, and none a copy of another."""

from collections import defaultdict
from collections.abc import Hashable, Iterator

from fairway.verify.facts import RECIPE, SUBMISSION, Facts, NoEvidence, SeedFacts
from fairway.verify.finding import Finding, Rule, failed, passed


def _check(facts: Facts) -> Iterator[Finding]:
    if not facts.seeds:
        raise NoEvidence("there is no seed to look at")
    findings = [*_enough(facts), *_named(facts), *_copies(facts)]
    yield from findings
    if not findings:
        yield passed(f"{len(facts.seeds)} seeds, all different: {', '.join(str(seed) for seed in facts.seeds)}")


def _enough(facts: Facts) -> Iterator[Finding]:
    needed = facts.track.seeds
    if len(facts.seeds) < needed.least:
        yield failed(
            f"{len(facts.seeds)} seeds, track {facts.track.name} asks for {needed.least}", source=needed.source
        )


def _named(facts: Facts) -> Iterator[Finding]:
    """The folders, the recipe and the claim speak of the same seeds: none left out, none added."""
    there = sorted(facts.seeds)
    recipe = facts.recipe.get("recipe") if facts.recipe is not None else None
    claims: list[tuple[str, object]] = []
    if isinstance(recipe, dict):
        claims.append((RECIPE, recipe.get("seeds")))
    if facts.submission is not None:
        claims.append((SUBMISSION, facts.submission.get("seeds")))
        results = facts.submission.get("seed_results")
        if isinstance(results, dict) and sorted(results) != sorted(str(seed) for seed in there):
            yield failed(f"seed_results are of {sorted(results)}, the folders of {there}", file=SUBMISSION)
    for file, said in claims:
        if not isinstance(said, list) or sorted(said, key=str) != sorted(there, key=str):
            yield failed(f"seeds are {said}, the folders are of {there}", file=file)


def _copies(facts: Facts) -> Iterator[Finding]:
    """Two seeds share no artifact, no losses in training, no ledger."""
    for what, file_of, key_of in _TRACES:
        holders = defaultdict(list)
        for seed in facts.seeds.values():
            key = key_of(seed)
            if key is not None:
                holders[key].append(seed)
        for seeds in holders.values():
            if len(seeds) > 1:
                names = " and ".join(str(seed.seed) for seed in seeds)
                yield failed(f"seeds {names} have the same {what}: one is a copy", file=file_of(seeds[1]))


def _artifact(seed: SeedFacts) -> Hashable:
    return None if seed.artifact is None else seed.artifact.sha256


def _losses(seed: SeedFacts) -> Hashable:
    steps = seed.of("train", "step")
    return tuple(str(event.fields.get("loss_nats")) for event in steps) or None


def _ledger(seed: SeedFacts) -> Hashable:
    if seed.ledger is None or not seed.ledger.scored:
        return None
    return tuple(span.nats for span in seed.ledger.scored)


_TRACES = (
    ("artifact", lambda seed: f"{seed.folder}artifact.bin", _artifact),
    ("training losses", lambda seed: seed.events_file, _losses),
    ("losses on the ledger", lambda seed: f"{seed.folder}ledger.jsonl", _ledger),
)

RULE = Rule(
    id="seeds-distinct",
    why="The mean of one run and two copies of it is one run; the best three of nine are not three.",
    source="README: the mean over at least three seeds of one configuration (rules 1.6; #2124, #1477)",
    scope="record",
    check=_check,
)
