"""The log of a seed for people, with the summary lines by which published logs are read."""

from collections.abc import Iterator

from fairway.records.facts import Scored, SeedFacts
from fairway.records.layout import STAGES
from fairway.runtime.events import render


def seed_log(seed: SeedFacts, code_bytes: int, method: str) -> str:
    """Every stage's events as the lines that were shown when it ran, then sizes and scores in their usual form.

    The last score line is the claim (``final_<method> val_loss:... val_bpb:... eval_time:...ms``).
    """
    return "".join(f"{line}\n" for line in _lines(seed, code_bytes, method))


def _lines(seed: SeedFacts, code_bytes: int, method: str) -> Iterator[str]:
    yield f"seed:{seed.seed}"
    for stage in STAGES:
        yield from filter(None, map(render, seed.logs[stage].entries))
    if seed.stop_reason == "clock":
        yield f"stopping_early: wallclock_cap train_time: {1000 * seed.train_s:.0f}ms step: {seed.steps}"
    codec = seed.codec or "artifact"
    yield f"Code size: {code_bytes} bytes"
    yield f"Serialized model {codec}: {seed.artifact_bytes} bytes"
    yield f"Total submission size {codec}: {code_bytes + seed.artifact_bytes} bytes"
    yield _score_line("pre-quantization post-ema", seed.floating)
    yield _score_line("quantized", seed.quantized)
    yield _score_line(f"final_{method}", seed.final)


def _score_line(label: str, score: Scored) -> str:
    milliseconds = round(1000 * score.seconds)
    return f"{label} val_loss:{score.loss_nats:.8f} val_bpb:{score.bpb:.8f} eval_time:{milliseconds}ms"
