"""One of several processes that share evaluations. Run by ``test_shared``: FOLDER, then the world's own variables.

Rank 1 waits before each prediction of a batch's first chunk, so that batches are not dealt out in turn.
"""

import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from fairway.errors import GateError
from fairway.model.gpt import Gpt
from fairway.model.init import initialise
from fairway.runtime.events import EventLog
from fairway.runtime.ranks import Ranks, close_ranks, open_ranks
from fairway.score import adapt
from fairway.score.evaluate import evaluate
from fairway.spec.model import Loops, ModelSpec
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

LENGTHS = (13, 1, 30, 7, 2, 22, 15, 14, 9, 11, 5, 8)
VOCAB = 24
LORA = DocumentLora(rank=2, chunk=4, batch_docs=2, lr=0.01, eps=1e-4)
METHODS = {
    "flat": Flat(),
    "sliding": Sliding(stride=4),
    "lora": LORA,
    "kept": replace(LORA, keep_a=True),
    "passes": ChunkPasses(
        first=Pass(weights="controls", optimizer="adam", lr=0.02, epochs=2),
        then=Pass(lr=0.05, epochs=1),
        stride=4,
        chunk_tokens=24,
        batch_rows=2,
    ),
    "ahead": AheadPasses(invalid=True, first=Pass(lr=0.05, epochs=2), stride=4, batch_rows=4, order="drawn"),
    "chunks": ChunkSgd(stride=4, chunk_tokens=24, epochs=2, lr=0.05, hash_rows=16),
    "phased": PhasedSgd(
        lora=LORA, prefix_docs=6, phases=2, lr=0.05, momentum=0.9, chunk_tokens=24, context=10, grad_clip=1.0
    ),
}


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    ranks = open_ranks("cpu", timeout_s=90.0)
    source = torch.Generator().manual_seed(5)
    tokens_N = torch.randint(4, VOCAB, (sum(LENGTHS),), generator=source, dtype=torch.int32)
    tokens_N[torch.tensor([0, *LENGTHS]).cumsum(0)[:-1]] = 1
    model = Gpt(
        ModelSpec(
            vocab_size=VOCAB, layers=3, width=16, heads=2, kv_heads=1, mlp_width=32, rope_dims=4,
            loops=Loops(first=1, last=1, extra=1),
        )
    )  # fmt: skip
    initialise(model, 3)
    model.requires_grad_(False)
    begin = adapt.LoraEvaluator._begin_batch

    def slow(self: adapt.LoraEvaluator, number: int, documents: int) -> None:
        time.sleep(0.3 * ranks.rank)
        begin(self, number, documents)

    adapt.LoraEvaluator._begin_batch = slow
    for name, method in METHODS.items():
        spec = ScoreSpec(
            context=12, batch_tokens=32, method=method, diagnostic=Flat(), budget_s=60.0, ranks="all"
        )  # fmt: skip
        with EventLog(folder / f"{name}.rank{ranks.rank}.jsonl", stage="evaluate", echo=None) as events:
            evaluate(
                model, tokens_N, torch.ones_like(tokens_N), spec, method,
                seed=3, looped=True, ledger_path=folder / f"{name}.rank{ranks.rank}.ledger", events=events,
                name=name, artifact_sha256="0" * 64, ranks=ranks,
            )  # fmt: skip
    out_of_time(folder, model, tokens_N, ranks)
    close_ranks()


def out_of_time(folder: Path, model: Gpt, tokens_N: torch.Tensor, ranks: Ranks) -> None:
    """Rank 1 believes at once that the budget is used up; what each rank is told lies in a file afterwards."""
    spec = ScoreSpec(context=12, batch_tokens=32, method=LORA, diagnostic=Flat(), budget_s=60.0, ranks="all")
    pace = 1.0 + 1e9 * ranks.rank
    with EventLog(folder / f"late.rank{ranks.rank}.jsonl", stage="evaluate", echo=None) as events:
        try:
            evaluate(
                model, tokens_N, torch.ones_like(tokens_N), spec, LORA,
                seed=3, looped=True, ledger_path=folder / f"late.rank{ranks.rank}.ledger", events=events,
                name="late", artifact_sha256="0" * 64, ranks=ranks, clock=lambda: pace * time.perf_counter(),
            )  # fmt: skip
        except GateError as error:
            (folder / f"late.rank{ranks.rank}.txt").write_text(str(error), encoding="utf-8")


main(Path(sys.argv[1]))
