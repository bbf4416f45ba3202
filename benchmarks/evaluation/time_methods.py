"""Seconds of each method of evaluation on the same weights and documents, the methods in turn, medians over rounds.

    python benchmarks/evaluation/time_methods.py RECIPE [--artifact FILE | --checkpoint FILE] [--val FOLDER]
        [--documents N] [--rounds N] [--methods flat,sliding,lora,phased,chunks] [--rival RESULT.json] -o OUT.json

Without weights they are drawn, without shards documents are drawn too, of lengths like those of web pages: neither
changes what has to be computed. Where the recipe names a method its settings are taken; the others get the
published ones, cut to the recipe's context. ``--rival`` is what a rival's script left for the same documents, in the
same shape: ``{"name", "device", "torch", "unit", "rows": [{"what", "seconds", "ratio"}]}``; a ratio is our seconds over
its.
"""

import argparse
import json
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from measure import Row, best_device, device_words, report

from fairway.data.documents import document_lengths
from fairway.data.shards import load_tokens
from fairway.main import Run, compute_dtype, restore_artifact, restore_checkpoint
from fairway.model.gpt import Gpt
from fairway.model.init import initialise
from fairway.recipes.load import load_recipe
from fairway.runtime.events import EventLog
from fairway.runtime.ranks import Ranks
from fairway.runtime.seeding import generator
from fairway.score.evaluate import evaluate
from fairway.score.windows import document_extents, length_batches
from fairway.spec.data import BOS
from fairway.spec.model import Loops
from fairway.spec.recipe import Recipe
from fairway.spec.score import ChunkSgd, DocumentLora, Flat, Method, PhasedSgd, ScoreSpec, Sliding

NO_BUDGET_S = 1e9


def main() -> None:
    """Time what is asked for, and write JSON and table."""
    asked = _arguments()
    recipe = load_recipe(asked.recipe).recipe
    device = best_device()
    if device.type == "cpu":
        torch.set_num_threads(recipe.train.threads or torch.get_num_threads())
    model = _model(asked, recipe, device)
    tokens_N = _tokens(asked, recipe)
    lengths = document_lengths(tokens_N)
    methods = {name: each for name, each in _methods(recipe.score, lengths).items() if name in asked.methods}
    taken: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(asked.rounds):
        for name, method in methods.items():
            taken[name].append(_seconds(model, tokens_N, recipe, method, device))
    rival = {} if asked.rival is None else _rival(asked.rival)
    rows = [_row(name, seconds, len(lengths), tokens_N.numel() - 1, rival.get(name)) for name, seconds in taken.items()]
    report(
        "evaluation",
        rows,
        device_words(device),
        unit="s",
        output=asked.output,
        recipe=recipe.name,
        documents=len(lengths),
        targets=tokens_N.numel() - 1,
        rounds=asked.rounds,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("recipe")
    weights = parser.add_mutually_exclusive_group()
    weights.add_argument("--artifact", type=Path)
    weights.add_argument("--checkpoint", type=Path)
    parser.add_argument("--val", type=Path)
    parser.add_argument("--documents", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--methods", type=lambda text: text.split(","), default=[*_NAMES])
    parser.add_argument("--rival", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    return parser.parse_args()


_NAMES = ("flat", "sliding", "lora", "phased", "chunks")


def _model(asked: argparse.Namespace, recipe: Recipe, device: torch.device) -> Gpt:
    run = Run(recipe=recipe, recipe_sha256="", forecast_bytes=0, seed=recipe.seeds[0], code_sha256="", code_bytes=0)
    if asked.artifact is not None:
        return restore_artifact(run, asked.artifact, device)
    if asked.checkpoint is not None:
        return restore_checkpoint(run, asked.checkpoint, device)
    model = Gpt(recipe.model, dtype=compute_dtype(device))
    initialise(model, recipe.seeds[0])
    return model.to(device)


def _tokens(asked: argparse.Namespace, recipe: Recipe) -> Tensor:
    if asked.val is not None:
        tokens_N = load_tokens(asked.val, "val")
        return tokens_N[: sum(document_lengths(tokens_N)[: asked.documents])]
    source = generator(0, "documents")
    log_lengths = torch.randn(asked.documents, generator=source) * 1.0 + 5.7  # median 300 tokens, a long tail
    lengths = log_lengths.exp().clamp(8, 4 * recipe.score.context).to(torch.int64)
    total = int(lengths.sum())
    tokens_N = torch.randint(BOS + 3, recipe.model.vocab_size, (total,), generator=source, dtype=torch.int32)
    tokens_N[torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)[:-1]])] = BOS
    return tokens_N


def _methods(score: ScoreSpec, lengths: list[int]) -> dict[str, Method]:
    named = score.method
    lora = named.lora if isinstance(named, PhasedSgd) else named
    if not isinstance(lora, DocumentLora):
        lora = DocumentLora(chunk=min(48, score.context))
    stride = max(1, score.context // 32)
    chunk_tokens = max(1, 32_768 // score.context) * score.context
    found: dict[str, Method] = {
        "flat": Flat(),
        "sliding": Sliding(stride=stride),
        "lora": lora,
        "phased": _phased(score, lora, lengths),
        "chunks": ChunkSgd(stride=stride, chunk_tokens=min(chunk_tokens, 8 * score.context)),
    }
    if named.kind in ("sliding", "chunks"):
        found[named.kind] = named
    return found


def _phased(score: ScoreSpec, lora: DocumentLora, lengths: list[int]) -> PhasedSgd:
    """The recipe's phases, or fewer where so few documents hold no more."""
    named = score.method if isinstance(score.method, PhasedSgd) else PhasedSgd(lora=lora, context=score.context)
    batches = length_batches(document_extents(lengths), lora.batch_docs)
    phases = max(1, min(named.phases, len(batches) - 2))
    return replace(named, phases=phases, prefix_docs=min(named.prefix_docs, phases * lora.batch_docs))


def _seconds(model: Gpt, tokens_N: Tensor, recipe: Recipe, method: Method, device: torch.device) -> float:
    spec = replace(recipe.score, method=method, budget_s=NO_BUDGET_S, ranks="first")
    began_s = time.perf_counter()
    with EventLog(None, stage="benchmark") as events:
        evaluate(
            model,
            tokens_N,
            torch.ones_like(tokens_N),
            spec,
            method,
            seed=recipe.seeds[0],
            looped=isinstance(recipe.model.loops, Loops),
            ledger_path=None,
            events=events,
            name=method.kind,
            artifact_sha256="0" * 64,
            ranks=Ranks(rank=0, world=1, device=device),
        )
    return time.perf_counter() - began_s


def _rival(path: Path) -> dict[str, float]:
    return {row["what"]: float(row["seconds"]) for row in json.loads(path.read_text(encoding="utf-8"))["rows"]}


def _row(what: str, seconds: list[float], documents: int, targets: int, rival_s: float | None) -> Row:
    median_s = statistics.median(seconds)
    return {
        "what": what,
        "seconds": round(median_s, 4),
        "ratio": None if rival_s is None else round(median_s / rival_s, 3),
        "least_s": round(min(seconds), 4),
        "ms_per_document": round(1000 * median_s / documents, 3),
        "us_per_token": round(1e6 * median_s / targets, 3),
    }


if __name__ == "__main__":
    main()
