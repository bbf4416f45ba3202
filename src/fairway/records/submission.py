"""submission.json with the fields of the published folders (``schemas/submission.schema.json``), all from facts."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fairway.records.facts import Environment, RunFacts, SeedFacts
from fairway.records.statistics import Spread, spread
from fairway.spec.recipe import Recipe
from fairway.spec.score import AheadPasses
from fairway.verify.sizes import Readings, readings

# Enough to tell apart what float32 losses can tell apart; the published logs carry eight decimals.
_SCORE_DECIMALS = 8
_SECOND_DECIMALS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Byline:
    """What a run cannot know of itself."""

    author: str
    github_id: str
    name: str
    blurb: str
    """What is new, in a sentence or two."""
    predecessor: str | None = None
    """Folder of the record that this one means to beat; None for the first of a track."""


def submission(run: RunFacts, byline: Byline, *, track: str, date: str) -> dict[str, Any]:
    """Means and sample standard deviations over the seeds, largest sizes, and each seed by itself."""
    invalid = invalidity(run.recipe)
    final_bpb, final_loss = spread_of(run, lambda seed: seed.final.bpb), spread_of(run, lambda s: s.final.loss_nats)
    largest = max(seed.artifact_bytes for seed in run.seeds)
    return {
        "author": byline.author,
        "github_id": byline.github_id,
        "name": byline.name if invalid is None else f"INVALID: {byline.name}",
        "blurb": byline.blurb,
        **({} if invalid is None else {"invalid": invalid}),
        "date": date,
        "track": track,
        "val_bpb": _score(final_bpb.mean),
        "val_bpb_std": _deviation(final_bpb),
        "val_loss": _score(final_loss.mean),
        "val_loss_std": _deviation(final_loss),
        "pre_quant_val_bpb": _score(spread_of(run, lambda seed: seed.floating.bpb).mean),
        "quantized_val_bpb": _score(spread_of(run, lambda seed: seed.quantized.bpb).mean),
        "bytes_total": run.code_bytes + largest,
        "bytes_code": run.code_bytes,
        "bytes_model": largest,
        "seeds": [seed.seed for seed in run.seeds],
        "seed_results": {str(seed.seed): _seed_result(seed, run.code_bytes) for seed in run.seeds},
        "hardware": hardware(run),
        "pytorch_version": torch_versions(run),
        "recipe_sha256": run.recipe_sha256,
        "predecessor": byline.predecessor,
        "attribution": {
            "recipe": run.recipe.name,
            "parents": list(run.recipe.lineage.parents),
            "because": run.recipe.lineage.because,
            "sources": list(run.recipe.lineage.sources),
        },
    }


def invalidity(recipe: Recipe) -> str | None:
    """Why what the recipe comes to is no score, or None: its name, README and claim all repeat it."""
    if isinstance(recipe.score.method, AheadPasses):
        return "its weights learn from the validation text before that text is scored (rulings in #402 and #677)"
    return None


def sizes(run: RunFacts, seed: SeedFacts) -> Readings:
    """The four readings of the size rule for one seed, as the judge computes them from the folder."""
    return readings(
        artifact_bytes=seed.artifact_bytes,
        code_bytes=run.code_bytes,
        all_code_bytes=run.code_bytes + run.source_bytes,
        claimed=_seed_result(seed, run.code_bytes)["bytes_total"],
        repacked_bytes=run.repacked_bytes,
    )


def spread_of(run: RunFacts, quantity: Callable[[SeedFacts], float]) -> Spread:
    """Mean and sample standard deviation of a quantity over the seeds of a run."""
    return spread([float(quantity(seed)) for seed in run.seeds])


def hardware(run: RunFacts) -> str:
    """The machines of all seeds: ``8 x NVIDIA H100 80GB HBM3 (x86_64, Linux-...)``; several if they differ."""
    return "; ".join(dict.fromkeys(_machine(seed.environment) for seed in run.seeds))


def _machine(environment: Environment) -> str:
    device = environment.device
    if device == "cpu":
        device = f"CPU with {environment.threads} thread{'s' if environment.threads != 1 else ''}"
    return f"{environment.world} x {device} ({environment.platform})"


def torch_versions(run: RunFacts) -> str:
    """The PyTorch that trained each seed, once if it is the same."""
    return ", ".join(dict.fromkeys(seed.environment.torch for seed in run.seeds))


def _seed_result(seed: SeedFacts, code_bytes: int) -> dict[str, Any]:
    return {
        "val_bpb": _score(seed.final.bpb),
        "val_loss": _score(seed.final.loss_nats),
        "pre_quant_val_bpb": _score(seed.floating.bpb),
        "quantized_val_bpb": _score(seed.quantized.bpb),
        "bytes_total": code_bytes + seed.artifact_bytes,
        "bytes_model": seed.artifact_bytes,
        "steps": seed.steps,
        "train_time_s": round(seed.train_s, _SECOND_DECIMALS),
        "eval_time_s": round(seed.final.seconds, _SECOND_DECIMALS),
    }


def _score(value: float) -> float:
    return round(value, _SCORE_DECIMALS)


def _deviation(of: Spread) -> float | None:
    return None if of.std is None else _score(of.std)
