"""README.md of a record: sentences and tables whose every number is a fact of the run."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from fairway.recipes.load import Change, leaves, plain, value_at
from fairway.records.compliance import Limit, compliance
from fairway.records.facts import RunFacts, SeedFacts
from fairway.records.figures import FIGURE_CAPTIONS
from fairway.records.layout import CODE, FIGURES, SOURCE, STAGES, figure_name
from fairway.records.probes import probe_cells, probe_rows, probe_sentences
from fairway.records.statistics import Spread
from fairway.records.submission import Byline, hardware, invalidity, sizes, spread_of, torch_versions
from fairway.spec.data import DataSpec, EmbeddedCorpus, HubCorpus
from fairway.spec.model import Loops, ModelSpec, TwoLanes
from fairway.spec.quant import Gptq, Grid, Hadamard, Lagrangian, QuantileGrid, QuantSpec, TrellisGrid
from fairway.spec.score import (
    AheadPasses,
    ChunkPasses,
    ChunkSgd,
    DocumentLora,
    Flat,
    Pass,
    PhasedSgd,
    ScoreSpec,
    Sliding,
)
from fairway.spec.train import LateReplay

_NAMED_BY_FILES = ("name", "lineage")
_WEIGHTS = {
    "all": "all weights",
    "late": "the last blocks, the embedding and all scales",
    "controls": "scales, gains and mixes",
}

_FILES = (
    ("submission.json", "the claim, in the fields of the published folders"),
    ("recipe.json", "every value of the run and which file set it"),
    ("verdict.json", "what `fairway check` found, rule by rule"),
    ("train_gpt.py", "the file that ran, packed; its size is what counts as code"),
    ("train_gpt_source.py", "what it was made from, readable"),
    ("requirements.txt", "what it imports"),
    (
        "data_manifest.json",
        "hashes of shards and tokenizer; with `documents.tsv`, where there is one, of each document",
    ),
    ("train_seed*.log", "all stages of a seed, for people"),
    ("seed*/events.jsonl", "the same for machines"),
    ("seed*/artifact.bin", "the model that was scored"),
    ("seed*/ledger.jsonl", "each step of the final evaluation, hash-chained"),
    ("SHA256SUMS", "of every file but itself and the verdict"),
)
_PROBE_FILE = ("seed*/probe.json", "what `fairway probe` found, a sentence with numbers for each probe")


def readme(run: RunFacts, byline: Byline, track: Mapping[str, Any], *, date: str) -> str:
    """Markdown with results, changes, compliance, reproduction and figures of a run."""
    limits = compliance(run, track)
    blocks = [
        *_title(run, byline),
        _headline(run, byline, track, date),
        f"{_what(run)} {_how_scored(run)}",
        "## Results",
        *_results(run),
        "## Size",
        *_sizes(run),
        "## What changed",
        *_changes(run),
        "## Compliance",
        *_compliance(limits),
        *_probes(run),
        "## Reproduce",
        *_reproduce(run),
        "## Figures",
        *(f"![{caption}]({FIGURES}/{figure_name(name)})\n\n*{caption}*" for name, caption in FIGURE_CAPTIONS.items()),
        "## Files",
        markdown_table(["file", "what it is"], [[f"`{name}`", what] for name, what in _files(run)]),
    ]
    return "\n\n".join(blocks) + "\n"


def _title(run: RunFacts, byline: Byline) -> Iterator[str]:
    invalid = invalidity(run.recipe)
    yield f"# {byline.name}" if invalid is None else f"# INVALID: {byline.name}"
    if invalid is not None:
        yield f"**This is no record and its score is not valid: {invalid}.** It is kept to show what such numbers are."
    yield byline.blurb


def _headline(run: RunFacts, byline: Byline, track: Mapping[str, Any], date: str) -> str:
    score = spread_of(run, lambda seed: seed.final.bpb)
    total = run.code_bytes + max(seed.artifact_bytes for seed in run.seeds)
    over = f"mean of {len(run.seeds)} seeds" if len(run.seeds) > 1 else "one seed"
    deviation = "" if score.std is None else f", standard deviation {score.std:.5f}"
    return (
        f"**{score.mean:.5f} bits per byte** ({over}{deviation}) in {total:,} bytes of code and artifact. Track"
        f" `{track['name']}` ({track['title']}), {date}, by {byline.author} (@{byline.github_id})."
        f" Hardware: {hardware(run)}, PyTorch {torch_versions(run)}."
    )


def _what(run: RunFacts) -> str:
    model, train = run.recipe.model, run.recipe.train
    steps, seconds = spread_of(run, lambda seed: seed.steps), spread_of(run, lambda seed: seed.train_s)
    tokens = spread_of(run, lambda seed: seed.tokens)
    replay = (
        f", the last {train.replay.keep} batches at most replayed {_times(train.replay.epochs)}"
        if isinstance(train.replay, LateReplay)
        else ""
    )
    artifact = spread_of(run, lambda seed: seed.artifact_bytes)
    return (
        f"The model is a decoder of {run.seeds[0].parameters:,} parameters: {_model(model)}."
        f" Each seed learned from {tokens.mean:,.0f} tokens in {steps.mean:,.0f} steps and {seconds.mean:.1f} s"
        f" (matrices by Muon, the rest by AdamW, averaged with decay {run.recipe.optim.ema_decay}{replay})."
        f" {_quantized(run.recipe.quant)}, and packed{_codecs(run.seeds)} into {artifact.mean:,.0f} bytes."
    )


def _model(model: ModelSpec) -> str:
    parts = [
        f"{model.layers} layers of width {model.width}",
        f"{model.heads} heads on {model.kv_heads} key heads",
        f"an MLP {model.mlp_width:,} wide",
        f"a tied vocabulary of {model.vocab_size:,}",
        f"rotary positions on {model.rope_dims} of {model.head_width} dimensions",
    ]
    if model.xsa_last:
        parts.append(f"exclusive self-attention on the last {model.xsa_last} layers")
    if isinstance(model.loops, Loops):
        span = (
            f"layer {model.loops.first}"
            if model.loops.first == model.loops.last
            else f"layers {model.loops.first} to {model.loops.last}"
        )
        parts.append(f"{span} run {_times(1 + model.loops.extra)} from {model.loops.start_fraction:.0%} of training on")
    if isinstance(model.lanes, TwoLanes):
        parts.append(f"two residual lanes from layer {model.lanes.start} on")
    return ", ".join(parts)


def _quantized(quant: QuantSpec) -> str:
    rotated = "rotated by signed Hadamard matrices, " if isinstance(quant.rotation, Hadamard) else ""
    rounded = "GPTQ" if isinstance(quant.rounding, Gptq) else "rounding to nearest"
    words = f"The weights were {rotated}brought to {_bits(quant.attention)} (attention), {_bits(quant.mlp)} (MLP) and"
    words += f" {_bits(quant.embedding)} (embedding) by {rounded}"
    if isinstance(quant.rates, Lagrangian):
        words += f", at steps that one Lagrangian chose for {quant.rates.target_bytes:,} bytes"
    return words


def _bits(grid: Grid | QuantileGrid | TrellisGrid) -> str:
    return f"paths through a trellis of {grid.states} states" if isinstance(grid, TrellisGrid) else f"{grid.bits} bits"


def _codecs(seeds: Sequence[SeedFacts]) -> str:
    names = list(dict.fromkeys(seed.codec for seed in seeds if seed.codec is not None))
    return f" (`{'`, `'.join(names)}`)" if names else ""


def _how_scored(run: RunFacts) -> str:
    final = run.seeds[0].final
    return (
        f"The reloaded artifact was scored on {len(run.document_tokens):,} documents of {_corpus(run.recipe.data)}"
        f" ({final.tokens:,} targets, {final.bytes:,} bytes) {_method(run.recipe.score)}."
    )


def _corpus(data: DataSpec) -> str:
    if isinstance(data.corpus, HubCorpus):
        return f"FineWeb (`{data.corpus.variant}`)"
    text = "the embedded English corpus" if isinstance(data.corpus, EmbeddedCorpus) else "a corpus of the author"
    return f"{text}, its capitals rewritten as operators (CaseOps)," if data.transform == "caseops" else text


def _method(score: ScoreSpec) -> str:
    match score.method:
        case Flat():
            return f"in rows of {score.context:,} tokens, each scored whole"
        case Sliding(stride=stride):
            return f"in windows of {score.context:,} tokens that advance by {stride:,}"
        case DocumentLora() as lora:
            return _lora(lora)
        case PhasedSgd() as phased:
            return (
                f"{_lora(phased.lora)}; in {phased.phases} phases the base weights learn by SGD from the first"
                f" {phased.prefix_docs:,} documents at most, each after it was scored"
            )
        case ChunkSgd() as chunks:
            return (
                f"in windows of {score.context:,} tokens that advance by {chunks.stride:,}; all weights learn by SGD"
                f" from every {chunks.chunk_tokens:,} tokens once scored, {chunks.epochs} times"
            )
        case ChunkPasses() as passes:
            return (
                f"in windows of {score.context:,} tokens that advance by {passes.stride:,}; after every"
                f" {passes.chunk_tokens:,} tokens once scored, {_passes(passes)} over them"
            )
        case AheadPasses() as ahead:
            return (
                f"in windows of {score.context:,} tokens that advance by {ahead.stride:,}, after {_passes(ahead)}"
                " over the same text: invalid"
            )


def _passes(method: ChunkPasses | AheadPasses) -> str:
    found = [method.first, method.then] if isinstance(method.then, Pass) else [method.first]
    return " and ".join(f"{each.epochs} epochs of {each.optimizer} on {_WEIGHTS[each.weights]}" for each in found)


def _lora(lora: DocumentLora) -> str:
    return f"with rank-{lora.rank} adapters of each document, which learn from every {lora.chunk} tokens once scored"


def _results(run: RunFacts) -> Iterator[str]:
    adapted = isinstance(run.recipe.score.method, DocumentLora | PhasedSgd | ChunkSgd)
    columns: list[tuple[str, Callable[[SeedFacts], float], str]] = [
        ("bpb, float", lambda seed: seed.floating.bpb, ".5f"),
        ("bpb, quantized", lambda seed: seed.quantized.bpb, ".5f"),
        ("bpb, after test-time training" if adapted else "bpb, final", lambda seed: seed.final.bpb, ".5f"),
        ("nats per token, final", lambda seed: seed.final.loss_nats, ".5f"),
        ("artifact bytes", lambda seed: seed.artifact_bytes, ",.0f"),
        ("forecast", lambda seed: seed.forecast_bytes, ",.0f"),
        ("steps", lambda seed: seed.steps, ",.0f"),
    ]
    yield _seed_table(run, columns)
    forecast, real = (spread_of(run, of).mean for of in (lambda s: s.forecast_bytes, lambda s: s.artifact_bytes))
    yield (
        "The forecast is made from the recipe alone, before training;"
        f" the real artifact differs from it by {real / forecast - 1:+.2%}."
    )
    yield "Wall-clock seconds of each stage, start-up included; `float` scores the weights before quantization:"
    stages: list[tuple[str, Callable[[SeedFacts], float], str]] = [
        (f"`{stage}`", _stage_seconds(stage), ".1f") for stage in STAGES
    ]
    yield _seed_table(run, [*stages, ("all", lambda seed: sum(seed.stage_s.values()), ".1f")])
    yield "Within them, the clocks that the track's limits are about:"
    clocks: list[tuple[str, Callable[[SeedFacts], float], str]] = [
        ("training", lambda seed: seed.train_s, ".2f"),
        ("calibration", lambda seed: seed.calibrate_s, ".2f"),
        ("loading the artifact", lambda seed: seed.load_s, ".2f"),
        ("compiling", lambda seed: seed.final.compile_s, ".2f"),
        ("scoring, final", lambda seed: seed.final.seconds, ".2f"),
        ("scoring, quantized", lambda seed: seed.quantized.seconds, ".2f"),
    ]
    yield _seed_table(run, clocks)


def _sizes(run: RunFacts) -> Iterator[str]:
    yield (
        f"The file that ran, `{CODE}`, has {run.code_bytes:,} bytes and is what the rule counts; `{SOURCE}`, what it"
        f" was made from, has {run.source_bytes:,}. Code and artifact of each seed in bytes, by the four ways in"
        " which the rule is read: *literal* (the file as it is), *all code* (every file of code in the folder),"
        " *claimed* (`submission.json`) and *repacked* (the program in the smallest file that the judge has seen or can"
        " make of it)."
    )
    columns: list[tuple[str, Callable[[SeedFacts], float], str]] = [
        ("artifact bytes", lambda seed: seed.artifact_bytes, ",.0f"),
        ("literal", lambda seed: sizes(run, seed).literal, ",.0f"),
        ("all code", lambda seed: sizes(run, seed).all_code, ",.0f"),
        ("claimed", lambda seed: _known(sizes(run, seed).claimed), ",.0f"),
    ]
    if run.repacked_bytes is not None:
        columns.append(("repacked", lambda seed: _known(sizes(run, seed).repacked), ",.0f"))
    yield _seed_table(run, columns)


def _known(size_bytes: int | None) -> int:
    assert size_bytes is not None, "a column of what is not known is left out"
    return size_bytes


def _stage_seconds(stage: str) -> Callable[[SeedFacts], float]:
    return lambda seed: seed.stage_s[stage]


def _seed_table(run: RunFacts, columns: Sequence[tuple[str, Callable[[SeedFacts], float], str]]) -> str:
    """One line a seed; mean and sample standard deviation below where there are several."""
    rows = [[f"{seed.seed}", *(format(of(seed), form) for _, of, form in columns)] for seed in run.seeds]
    if len(run.seeds) > 1:
        spreads = [(spread_of(run, of), form) for _, of, form in columns]
        rows.append(["**mean**", *(f"**{of.mean:{form}}**" for of, form in spreads)])
        rows.append(["std (n - 1)", *(_deviation(of, form) for of, form in spreads)])
    return markdown_table(["seed", *(title for title, _, _ in columns)], rows, numbers=True)


def _deviation(of: Spread, form: str) -> str:
    assert of.std is not None, "only several seeds have a spread"
    return format(of.std, form)


def _changes(run: RunFacts) -> Iterator[str]:
    lineage, name = run.recipe.lineage, run.recipe.name
    yield (
        f"`{name}` changes `{lineage.parents[0]}`: {lineage.because}"
        if lineage.parents
        else f"`{name}` is the root of its line: {lineage.because}"
    )
    yield _diff(run)
    if lineage.parents:
        yield f"Line: {' < '.join(f'`{each}`' for each in (name, *lineage.parents))}. `recipe.json` holds every value."
    if lineage.sources:
        yield f"It stands on: {', '.join(lineage.sources)}."


def _diff(run: RunFacts) -> str:
    """What differs from the parent, old and new; where the parent is not known, the keys that this recipe set."""
    if run.changes is not None and run.recipe.lineage.parents:
        rows = [[f"`{key}`", *(_side(change, side) for side in ("was", "is"))] for key, change in run.changes.items()]
        return markdown_table(["key", f"`{run.recipe.lineage.parents[0]}`", f"`{run.recipe.name}`"], rows)
    table, name = plain(run.recipe), run.recipe.name
    own = [key for key in leaves(table) if run.origin.get(key) == name and key.split(".")[0] not in _NAMED_BY_FILES]
    return markdown_table(["key", "value"], [[f"`{key}`", f"`{value_at(table, key)}`"] for key in own])


def _side(change: Change, side: str) -> str:
    return f"`{json.dumps(change[side])}`" if side in change else "none"


def _compliance(limits: Sequence[Limit]) -> Iterator[str]:
    rows = [
        [limit.what, limit.reading, _bound(limit), _amount(limit.value, limit.unit), _seed_of(limit), _mark(limit)]
        for limit in limits
    ]
    yield markdown_table(["what", "reading", "limit", "worst", "seed", "holds"], rows)
    yield (
        "`strict` is the rule as written, `precedent` what accepted records show. This table repeats the run's own"
        " numbers; the judgement, with every other rule, is `verdict.json`, and `fairway check` on this folder makes it"
        " again from the files."
    )


def _probes(run: RunFacts) -> Iterator[str]:
    if not run.probes:
        return
    yield "## Probes"
    yield from probe_sentences(run.probes)
    head = ["probe", "measured, worst seed", "seed", "limit", "samples", "verdict"]
    yield markdown_table(head, [probe_cells(row) for row in probe_rows(run.probes)])


def _files(run: RunFacts) -> Sequence[tuple[str, str]]:
    return (*_FILES[:-1], _PROBE_FILE, _FILES[-1]) if run.probes else _FILES


def _bound(limit: Limit) -> str:
    return f"{'at least' if limit.least else 'at most'} {_amount(limit.limit, limit.unit)}"


def _amount(value: float, unit: str) -> str:
    return f"{value:,.2f} s" if unit == "s" else f"{value:,.0f} {unit}".rstrip()


def _seed_of(limit: Limit) -> str:
    return "all" if limit.seed is None else str(limit.seed)


def _mark(limit: Limit) -> str:
    return "yes" if limit.holds else "**no**"


def _reproduce(run: RunFacts) -> Iterator[str]:
    seed = run.seeds[0].seed
    yield (
        "With `requirements.txt` installed and the dataset in `data` (`fairway fetch recipe.json -o data`), one command"
        " trains, quantizes, packs, reloads and scores a seed; fairway itself is not needed:"
    )
    yield (f"```sh\nSEED={seed} DATA_PATH=data TOKENIZER_PATH=data/tokenizer.model python {CODE}\n```")
    yield (
        f"The log, the artifact, the ledger and the scores then lie in `logs`; the code is `{run.code_sha256[:12]}`."
        " In a clone of fairway one command makes this folder, all seeds, judged:"
    )
    yield f"```sh\nmake record RECIPE={run.recipe.name}\n```"
    yield _same_again(run)
    yield markdown_table(
        ["seed", "SHA-256 of the artifact"], [[str(each.seed), f"`{each.artifact_sha256}`"] for each in run.seeds]
    )


def _same_again(run: RunFacts) -> str:
    counted, pinned = run.recipe.train.steps is not None, run.recipe.train.threads > 0
    on_cpu = all(seed.environment.device == "cpu" for seed in run.seeds)
    if counted and pinned and on_cpu:
        return "Progress is counted in steps and the threads are fixed, so the same processor gives the same artifact:"
    return "Progress follows the clock or sums depend on the device, so another run differs in its bytes; these were:"


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: bool = False) -> str:
    """A table; with ``numbers`` every column but the first is aligned to the right."""
    rule = "--:" if numbers else "---"
    lines = [head, ["---", *[rule] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
