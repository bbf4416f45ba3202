"""The log of a seed for people: the lines that the file prints when it runs whole."""

from collections.abc import Iterator

from fairway.records.facts import RunFacts, Scored, SeedFacts
from fairway.records.layout import STAGES
from fairway.runtime.events import render


def seed_log(seed: SeedFacts, run: RunFacts) -> str:
    """What ``train_gpt.py`` wrote into its log if it ran whole, or would have, stage by stage, from the same events.

    The first line names the code that ran. Sizes, stop and scores stand there in the words of the published logs; the
    last score line is the claim.
    """
    return "".join(f"{line}\n" for line in _lines(seed, run))


def _lines(seed: SeedFacts, run: RunFacts) -> Iterator[str]:
    yield f"code sha256:{run.code_sha256} size_bytes:{run.code_bytes}"
    yield f"recipe:{run.recipe.name} sha256:{run.recipe_sha256}"
    yield f"seed:{seed.seed}"
    for stage in STAGES:
        yield from filter(None, map(render, seed.logs[stage].entries))
        yield from _told(stage, seed, run)


def _told(stage: str, seed: SeedFacts, run: RunFacts) -> Iterator[str]:
    """The lines by which published logs are read."""
    if stage == "train" and seed.stop_reason == "clock":
        yield f"stopping_early: wallclock_cap train_time: {1000 * seed.train_s:.0f}ms step: {seed.steps}"
    elif stage == "compress":
        codec = f"quantized+{run.recipe.quant.codec}"
        yield f"Code size: {run.code_bytes} bytes"
        yield f"Serialized model {codec}: {seed.artifact_bytes} bytes"
        yield f"Total submission size {codec}: {run.code_bytes + seed.artifact_bytes} bytes"
    elif stage == "float":
        yield _score_line("pre-quantization post-ema", seed.floating)
    elif stage == "evaluate":
        yield _score_line("quantized", seed.quantized)
        yield _score_line(f"final_{run.recipe.score.method.kind}_exact", seed.final)


def _score_line(label: str, score: Scored) -> str:
    milliseconds = round(1000 * score.seconds)
    return f"{label} val_loss:{score.loss_nats:.8f} val_bpb:{score.bpb:.8f} eval_time:{milliseconds}ms"
