"""Every number of submission.json, of the README's tables by seed and of the logs for people, recomputed.

A written number may be rounded to its last digit, scores to no fewer than four decimals. What it is compared with
comes from events and from files on disk.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from fairway.verify.facts import CODE, README, STAGES, SUBMISSION, Event, Facts, NoEvidence, SeedFacts
from fairway.verify.finding import Finding, Rule, failed, lacking, passed, review
from fairway.verify.sizes import readings_of
from fairway.verify.statistics import mean, sample_std
from fairway.verify.strict_json import Written

_SCORE_COARSEST = 0.5e-4
_SECOND_COARSEST = 0.05
_LOG_SCORE = re.compile(
    r"(pre-quantization post-ema|quantized|final_[a-z_]+) val_loss:(\S+) val_bpb:(\S+) eval_time:([0-9]+)ms"
)
_LOG_TOTAL = re.compile(r"Total submission size \S+: ([0-9]+) bytes")
_LOG_SEED = re.compile(r"seed:([0-9]+)")
_HEADLINE = re.compile(r"\*\*([0-9]+\.[0-9]+) bits per byte\*\*")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Result:
    """One seed's numbers, from its events and files."""

    seed: int
    val_bpb: float
    val_loss: float
    pre_quant_val_bpb: float
    pre_quant_val_loss: float
    quantized_val_bpb: float
    quantized_val_loss: float
    bytes_total: int
    bytes_model: int
    steps: int
    train_time_s: float
    eval_time_s: float


_PER_SEED: Mapping[str, float] = {
    "val_bpb": _SCORE_COARSEST,
    "val_loss": _SCORE_COARSEST,
    "pre_quant_val_bpb": _SCORE_COARSEST,
    "quantized_val_bpb": _SCORE_COARSEST,
    "bytes_total": 0.0,
    "bytes_model": 0.0,
    "steps": 0.0,
    "train_time_s": _SECOND_COARSEST,
    "eval_time_s": _SECOND_COARSEST,
}
"""Name of a number to how coarsely it may be rounded at most; 0: not at all."""


def _check(facts: Facts) -> Iterator[Finding]:
    if not facts.seeds:
        raise NoEvidence("there is no seed to recompute anything from")
    results = [_result(facts, seed) for seed in facts.seeds.values()]
    findings = [*_submission(facts, results), *_machine(facts), *_readme(facts, results), *_logs(facts, results)]
    yield from findings
    if not any(finding.verdict in ("FAIL", "REVIEW") for finding in findings):
        best = mean([result.val_bpb for result in results])
        yield passed(f"every number recomputed; val_bpb {best:.5f} over {len(results)} seeds", file=SUBMISSION)


def _result(facts: Facts, seed: SeedFacts) -> _Result:
    done, final = seed.only("train", "done"), seed.only("evaluate", "score", name="final")
    floating, quantized = seed.only("float", "score", name="float"), seed.only("evaluate", "score", name="quantized")
    artifact = seed.need_artifact()
    code_bytes = facts.need_code().file.size_bytes
    return _Result(
        seed=seed.seed,
        val_bpb=final.number("val_bpb"),
        val_loss=final.number("val_loss"),
        pre_quant_val_bpb=floating.number("val_bpb"),
        pre_quant_val_loss=floating.number("val_loss"),
        quantized_val_bpb=quantized.number("val_bpb"),
        quantized_val_loss=quantized.number("val_loss"),
        bytes_total=code_bytes + artifact.size_bytes,
        bytes_model=artifact.size_bytes,
        steps=done.count("steps"),
        train_time_s=done.number("train_s"),
        eval_time_s=final.number("seconds"),
    )


def _submission(facts: Facts, results: Sequence[_Result]) -> Iterator[Finding]:
    claim = facts.need_submission()
    bpbs, losses = [r.val_bpb for r in results], [r.val_loss for r in results]
    due: dict[str, tuple[float | None, float]] = {
        "val_bpb": (mean(bpbs), _SCORE_COARSEST),
        "val_bpb_std": (sample_std(bpbs), _SCORE_COARSEST),
        "val_loss": (mean(losses), _SCORE_COARSEST),
        "val_loss_std": (sample_std(losses), _SCORE_COARSEST),
        "pre_quant_val_bpb": (mean([r.pre_quant_val_bpb for r in results]), _SCORE_COARSEST),
        "quantized_val_bpb": (mean([r.quantized_val_bpb for r in results]), _SCORE_COARSEST),
        "bytes_total": (max(r.bytes_total for r in results), 0.0),
        "bytes_model": (max(r.bytes_model for r in results), 0.0),
        "bytes_code": (results[0].bytes_total - results[0].bytes_model, 0.0),
    }
    for name, (value, coarsest) in due.items():
        yield from _compared(name, claim.get(name), value, coarsest)
    said = claim.get("seed_results")
    if not isinstance(said, dict):
        yield failed("seed_results is no object", file=SUBMISSION)
        return
    for result in results:
        block = said.get(str(result.seed))
        if not isinstance(block, dict):
            yield failed(f"seed_results has no seed {result.seed}", file=SUBMISSION)
            continue
        for name in sorted(block.keys() & _PER_SEED.keys()):
            yield from _compared(
                f"seed_results.{result.seed}.{name}", block[name], getattr(result, name), _PER_SEED[name]
            )
    for name, due_text in (("track", facts.track.name), ("date", facts.folder[:10])):
        if str(claim.get(name))[: len(due_text) if name == "date" else None] != due_text:
            yield failed(f"{name} is {claim.get(name)!r}, the folder and its place say {due_text!r}", file=SUBMISSION)
    recipe = facts.recipe.get("sha256") if facts.recipe is not None else None
    if claim.get("recipe_sha256", recipe) != recipe:
        yield failed(
            f"recipe_sha256 is {str(claim['recipe_sha256'])[:12]}, the recipe's is {str(recipe)[:12]}", file=SUBMISSION
        )


def _compared(name: str, said: object, value: int | float | None, coarsest: float) -> Iterator[Finding]:
    if value is None or said is None:
        if said is not value:
            yield failed(f"{name} is {said}, the logs and files give {value}", file=SUBMISSION)
        return
    text = said.text if isinstance(said, Written) else str(said)
    if isinstance(said, bool) or not isinstance(said, (int, float)) or not _agrees(text, value, coarsest):
        yield failed(f"{name} is {text}, the logs and files give {value:.10g}", file=SUBMISSION)


def _agrees(text: str, value: int | float, coarsest: float) -> bool:
    """Whether ``value``, rounded where ``text`` ends but no coarser than allowed, is what ``text`` says."""
    try:
        written = Decimal(text)
    except InvalidOperation:
        return False
    if not written.is_finite():
        return False
    exponent = written.as_tuple().exponent
    half = 0.5 * 10.0 ** min(int(exponent), 20) if isinstance(exponent, int) else 0.0
    return abs(float(written) - value) <= min(half, coarsest) + 1e-9 * max(1.0, abs(value)) * (coarsest > 0)


def _machine(facts: Facts) -> Iterator[Finding]:
    """Hardware and torch of the claim are those of every stage's environment."""
    claim = facts.need_submission()
    for seed in facts.seeds.values():
        for stage in STAGES:
            for event in seed.of(stage, "environment"):
                yield from _same_machine(claim, event)


def _same_machine(claim: Mapping[str, object], event: Event) -> Iterator[Finding]:
    torch, device = event.text("torch"), event.text("device")
    versions = [each.strip() for each in str(claim.get("pytorch_version")).split(",")]
    if torch not in versions:
        yield failed(
            f"pytorch_version is {claim.get('pytorch_version')}, stage {event.stage} ({event.file}:{event.line})"
            f" ran {torch}",
            file=SUBMISSION,
        )
    if device.lower() not in str(claim.get("hardware")).lower():
        yield failed(
            f"hardware is {claim.get('hardware')!r}, stage {event.stage} ({event.file}:{event.line}) ran on {device}",
            file=SUBMISSION,
        )


_Column = tuple[Callable[[Facts, SeedFacts, _Result], float], float]


def _claimed(name: str) -> Callable[[Facts, SeedFacts, _Result], float]:
    return lambda facts, seed, result: float(getattr(result, name))


def _stage_seconds(stage: str) -> Callable[[Facts, SeedFacts, _Result], float]:
    return lambda facts, seed, result: seed.only(stage, "done").t_s


_NAMED: Mapping[str, _Column] = {
    **{name: (_claimed(name), coarsest) for name, coarsest in _PER_SEED.items()},
    "bpb, float": (lambda f, s, r: r.pre_quant_val_bpb, _SCORE_COARSEST),
    "bpb, quantized": (lambda f, s, r: r.quantized_val_bpb, _SCORE_COARSEST),
    "bpb, final": (lambda f, s, r: r.val_bpb, _SCORE_COARSEST),
    "bpb, after test-time training": (lambda f, s, r: r.val_bpb, _SCORE_COARSEST),
    "nats per token, final": (lambda f, s, r: r.val_loss, _SCORE_COARSEST),
    "artifact bytes": (lambda f, s, r: r.bytes_model, 0.5),
    "literal": (lambda f, s, r: r.bytes_total, 0.5),
    "all code": (lambda f, s, r: readings_of(f, s).all_code, 0.5),
    "claimed": (lambda f, s, r: _or_nothing(readings_of(f, s).claimed, "a claimed size", SUBMISSION), 0.5),
    "repacked": (lambda f, s, r: _or_nothing(readings_of(f, s).repacked, "a program to repack", CODE), 0.5),
    "forecast": (lambda f, s, r: s.only("compress", "done").number("forecast_bytes"), 0.5),
    **{stage: (_stage_seconds(stage), _SECOND_COARSEST) for stage in STAGES},
    "all": (lambda f, s, r: sum(s.only(stage, "done").t_s for stage in STAGES), _SECOND_COARSEST),
    "training": (lambda f, s, r: r.train_time_s, _SECOND_COARSEST),
    "calibration": (lambda f, s, r: s.only("calibrate", "done").number("seconds"), _SECOND_COARSEST),
    "loading the artifact": (lambda f, s, r: s.only("evaluate", "load").number("seconds"), _SECOND_COARSEST),
    "compiling": (lambda f, s, r: _final(s).number("compile_s"), _SECOND_COARSEST),
    "scoring, final": (lambda f, s, r: r.eval_time_s, _SECOND_COARSEST),
    "scoring, quantized": (
        lambda f, s, r: s.only("evaluate", "score", name="quantized").number("seconds"),
        _SECOND_COARSEST,
    ),
}
"""Title of a column of the README to its number of one seed, and how coarsely that may be rounded."""


def _or_nothing(size_bytes: int | None, what: str, file: str) -> float:
    if size_bytes is None:
        raise NoEvidence(f"there is no {what.partition(' ')[2]} to compare with", file)
    return float(size_bytes)


_ARTIFACT_COLUMN = "SHA-256 of the artifact"
_COUNTS = {"steps": 0.5, "bytes_total": 0.5, "bytes_model": 0.5}
"""Means of counts are rounded to whole ones in a table."""


def _final(seed: SeedFacts) -> Event:
    return seed.only("evaluate", "score", name="final")


def _readme(facts: Facts, results: Sequence[_Result]) -> Iterator[Finding]:
    if facts.readme is None:
        yield lacking(NoEvidence("is missing or cannot be read", README))
        return
    lines = facts.readme.split("\n")
    scores = 0
    for number, line in enumerate(lines, start=1):
        headline = _HEADLINE.search(line)
        if headline is not None:
            scores += 1
            value = mean([result.val_bpb for result in results])
            if not _agrees(headline[1], value, _SCORE_COARSEST):
                yield failed(f"says {headline[1]} bits per byte, the logs give {value:.8f}", file=README, line=number)
    for number, titles, rows in _seed_tables(lines):
        scores += any(title in titles for title in ("val_bpb", "bpb, final", "bpb, after test-time training"))
        yield from _table(facts, results, number, titles, rows)
    if not scores:
        yield review("states no score that could be recomputed", file=README)


def _seed_tables(lines: Sequence[str]) -> Iterator[tuple[int, list[str], list[tuple[int, list[str]]]]]:
    """Every table whose first column is ``seed``: line of its head, its titles, its rows with their lines."""
    for at, line in enumerate(lines):
        titles = _cells(line)
        if titles[:1] != ["seed"]:
            continue
        rows = []
        for below in range(at + 2, len(lines)):
            if not lines[below].startswith("|"):
                break
            rows.append((below + 1, _cells(lines[below])))
        yield at + 1, titles, rows


def _cells(line: str) -> list[str]:
    if not line.startswith("|"):
        return []
    return [cell.strip().strip("*`").strip() for cell in line.strip().strip("|").split("|")]


def _table(
    facts: Facts, results: Sequence[_Result], head: int, titles: Sequence[str], rows: Sequence[tuple[int, list[str]]]
) -> Iterator[Finding]:
    unknown = [title for title in titles[1:] if title not in _NAMED and title != _ARTIFACT_COLUMN]
    if unknown:
        yield review(f"column {unknown[0]!r} is nothing that could be recomputed", file=README, line=head)
    by_seed = {str(result.seed): result for result in results}
    for line, cells in rows:
        if len(cells) != len(titles):
            yield failed(f"{len(cells)} cells under {len(titles)} titles", file=README, line=line)
            continue
        for title, text in zip(titles[1:], cells[1:], strict=True):
            if title == _ARTIFACT_COLUMN:
                result = by_seed.get(cells[0])
                artifact = None if result is None else facts.seeds[result.seed].need_artifact().sha256
                if text != artifact:
                    yield failed(
                        f"names artifact {text[:12]}, the file is {str(artifact)[:12]}", file=README, line=line
                    )
            elif title in _NAMED:
                yield from _cell(facts, results, by_seed, cells[0], title, text, line)


def _cell(
    facts: Facts,
    results: Sequence[_Result],
    by_seed: Mapping[str, _Result],
    row: str,
    title: str,
    text: str,
    line: int,
) -> Iterator[Finding]:
    number_of, coarsest = _NAMED[title]
    coarsest = _COUNTS.get(title, coarsest)
    value: float | None
    if row in by_seed:
        value = number_of(facts, facts.seeds[by_seed[row].seed], by_seed[row])
    elif row in ("mean", "std (n - 1)", "std"):
        values = [float(number_of(facts, facts.seeds[result.seed], result)) for result in results]
        value = mean(values) if row == "mean" else sample_std(values)
    else:
        yield failed(f"row {row!r} is no seed of this record, nor their mean or std", file=README, line=line)
        return
    if value is None or not _agrees(text.replace(",", ""), value, coarsest):
        yield failed(f"{row}, {title}: {text}, the logs and files give {value}", file=README, line=line)


def _logs(facts: Facts, results: Sequence[_Result]) -> Iterator[Finding]:
    """The score and size lines of each log for people say what the events say."""
    for result in results:
        if result.seed not in facts.logs:
            continue
        file, text = facts.logs[result.seed]
        final = 0
        for number, line in enumerate(text.split("\n"), start=1):
            place = {"file": file, "line": number}
            if (seed := _LOG_SEED.fullmatch(line)) is not None and int(seed[1]) != result.seed:
                yield failed(f"is of seed {seed[1]}, must be {result.seed}", **place)
            if (total := _LOG_TOTAL.fullmatch(line)) is not None and int(total[1]) != result.bytes_total:
                yield failed(f"says {total[1]} bytes in all, the files have {result.bytes_total}", **place)
            if (score := _LOG_SCORE.fullmatch(line)) is not None:
                label = score[1]
                final += label.startswith("final")
                prefix = {"pre-quantization post-ema": "pre_quant_", "quantized": "quantized_"}.get(label, "")
                for what, said in (("val_loss", score[2]), ("val_bpb", score[3])):
                    value = float(getattr(result, prefix + what))
                    if not _agrees(said, value, _SCORE_COARSEST):
                        yield failed(f"{label} {what} {said}, the events give {value!r}", **place)
        if final != 1:
            yield review(f"holds {final} final scores, the claim is one", file=file)


RULE = Rule(
    id="claims-follow-from-logs",
    why="A headline that no log shows is the most frequent inconsistency of accepted folders.",
    source="rules 1.9, 1.10 and 5.8: numbers recomputed from the logs (#1477, #1667, #2118, #86)",
    scope="record",
    check=_check,
)
