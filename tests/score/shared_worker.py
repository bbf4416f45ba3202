"""One of several processes that share evaluations. Run by ``test_shared``: FOLDER, then the world's own variables.

Rank 1 waits before each prediction of a batch's first chunk, so that batches are not dealt out in turn.
"""

import sys
import time
from pathlib import Path

import torch

from fairway.model.gpt import Gpt
from fairway.model.init import initialise
from fairway.runtime.events import EventLog
from fairway.runtime.ranks import close_ranks, open_ranks
from fairway.score import adapt
from fairway.score.evaluate import evaluate
from fairway.spec.model import Loops, ModelSpec
from fairway.spec.score import ChunkSgd, DocumentLora, Flat, PhasedSgd, ScoreSpec, Sliding

LENGTHS = (13, 1, 30, 7, 2, 22, 15, 14, 9, 11, 5, 8)
VOCAB = 24
LORA = DocumentLora(rank=2, chunk=4, batch_docs=2, lr=0.01, eps=1e-4)
METHODS = {
    "flat": Flat(),
    "sliding": Sliding(stride=4),
    "lora": LORA,
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
    close_ranks()


main(Path(sys.argv[1]))
