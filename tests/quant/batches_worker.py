"""One of two processes that share the matrices of a model. Run by ``test_batches``."""

import sys
from pathlib import Path

import torch

from fairway.quant.batches import round_in_batches
from fairway.runtime.ranks import close_ranks, open_ranks

ranks = open_ranks("cpu", timeout_s=90.0)
folder = Path(sys.argv[1])
problem = torch.load(folder / "problem.pt", weights_only=False)
torch.save(round_in_batches(ranks, *problem), folder / f"rank{ranks.rank}.pt")
close_ranks()
