"""One code and one recipe: those in the folder are those that every stage of every seed ran with."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fairway.verify import strict_json
from fairway.verify.facts import CODE, RECIPE, STAGES, Facts, NoEvidence, SeedFacts
from fairway.verify.finding import Finding, Rule, each_seed, failed, passed


@dataclass(slots=True)
class _Code:
    """The code of the first stage that was looked at; all others must have run the same."""

    sha256: str | None
    where: str = ""


def _check(facts: Facts) -> Iterator[Finding]:
    resolved = facts.need_recipe()
    recipe, sha256 = resolved.get("recipe"), resolved.get("sha256")
    if not isinstance(recipe, dict) or not isinstance(sha256, str):
        raise NoEvidence("has no recipe with its sha256", RECIPE)
    findings = []
    if strict_json.sha256_of(recipe) != sha256:
        findings.append(failed(f"its sha256 is {sha256[:12]}, its content has another: it was edited", file=RECIPE))
    if recipe.get("track") != facts.track.name:
        findings.append(failed(f"is for track {recipe.get('track')!r}, judged for {facts.track.name!r}", file=RECIPE))
    first = _Code(None)

    def one(seed: SeedFacts) -> Iterator[Finding]:
        yield from _same_code(facts, seed, sha256, first)
        yield from _same_settings(seed, recipe)

    findings += each_seed(facts, one)
    yield from findings
    if not findings:
        yield passed(
            f"recipe {sha256[:12]}, code {(first.sha256 or '')[:12]}, in every stage of every seed", file=RECIPE
        )


def _same_code(facts: Facts, seed: SeedFacts, recipe_sha256: str, first: _Code) -> Iterator[Finding]:
    code = None if facts.code is None else facts.code.file
    for stage in STAGES:
        event = seed.only(stage, "code")
        place = {"file": event.file, "line": event.line}
        ran, size_bytes = event.text("sha256"), event.count("size_bytes")
        if first.sha256 is None:
            first.sha256, first.where = ran, f"{event.file}:{event.line}"
        if ran != first.sha256:
            yield failed(
                f"seed {seed.seed}: stage {stage} ran code {ran[:12]}, {first.where} ran {first.sha256[:12]}", **place
            )
        elif code is not None and (ran, size_bytes) != (code.sha256, code.size_bytes):
            yield failed(
                f"seed {seed.seed}: stage {stage} ran code {ran[:12]} of {size_bytes} bytes, {CODE} is"
                f" {code.sha256[:12]} of {code.size_bytes}",
                **place,
            )
        if event.text("recipe_sha256") != recipe_sha256:
            yield failed(
                f"seed {seed.seed}: stage {stage} ran recipe {event.text('recipe_sha256')[:12]}, {RECIPE} is"
                f" {recipe_sha256[:12]}",
                **place,
            )
        if event.count("seed") != seed.seed:
            yield failed(f"stage {stage} ran with seed {event.count('seed')}, must be {seed.seed}", **place)
    if code is None:
        raise NoEvidence("there is no code to compare with the code that ran", CODE)
    if seed.header is not None and seed.header.extra.get("seed") != seed.seed:
        yield failed(f"was packed for seed {seed.header.extra.get('seed')}, must be {seed.seed}", file=seed.header.file)
    if seed.header is not None and seed.header.extra.get("recipe_sha256") != recipe_sha256:
        said = str(seed.header.extra.get("recipe_sha256"))[:12]
        yield failed(f"was packed by recipe {said}, {RECIPE} is {recipe_sha256[:12]}", file=seed.header.file)


def _same_settings(seed: SeedFacts, recipe: Mapping[str, Any]) -> Iterator[Finding]:
    """What the run says that it did is what the recipe says: budget, steps, tokenizer, method of evaluation."""
    start = seed.only("train", "start")
    for key in ("budget_s", "reserve_s", "steps"):
        due = _at(recipe, "train", key)
        if start.fields.get(key) != due:
            yield failed(
                f"seed {seed.seed}: trained with {key} {start.fields.get(key)}, the recipe has {due}",
                file=start.file,
                line=start.line,
            )
    stop = seed.only("train", "stop")
    steps = _at(recipe, "train", "steps")
    if isinstance(steps, int) and stop.count("step") > steps:
        yield failed(
            f"seed {seed.seed}: {stop.count('step')} steps, the recipe has {steps}", file=stop.file, line=stop.line
        )
    ledger, opening, _ = seed.whole_ledger()
    method = _at(recipe, "score", "method")
    if isinstance(method, dict):
        for key, due in method.items():
            said = opening.method.get(key)
            if said != due:
                yield failed(
                    f"seed {seed.seed}: evaluated with {key} {said}, the recipe has {due}", file=ledger.file, line=1
                )
    if opening.method.get("seed", seed.seed) != seed.seed:
        yield failed(f"seed {seed.seed}: evaluated with seed {opening.method['seed']}", file=ledger.file, line=1)


def _at(recipe: Mapping[str, Any], part: str, key: str) -> Any:
    block = recipe.get(part)
    return block.get(key) if isinstance(block, dict) else None


RULE = Rule(
    id="recipe-that-ran",
    why="A score belongs to the configuration and the code that reached it, and to no other.",
    source="README: reproducible, the log is produced by the script (rules 1.5, 1.9; #2124, #86)",
    scope="seed",
    check=_check,
)
