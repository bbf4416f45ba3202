"""One of two processes: says what it sees of the other. Run by ``test_ranks``."""

import json
import sys
from pathlib import Path

import torch

from fairway.runtime.ranks import close_ranks, open_ranks

ranks = open_ranks("cpu", timeout_s=90.0)
mine = [torch.full((2, 3), float(ranks.rank)), torch.tensor(ranks.rank + 1, dtype=torch.int64), torch.zeros(0)]
summed = [tensor.clone() for tensor in mine]
ranks.sum_(summed)
averaged = [torch.full((2, 3), float(ranks.rank)).T, torch.tensor([3.0 + 2 * ranks.rank], dtype=torch.float64)]
ranks.mean_(averaged)
spread = [tensor.clone() for tensor in mine]
ranks.broadcast_(spread)
ranks.barrier()
seen = {
    "rank": ranks.rank,
    "world": ranks.world,
    "is_first": ranks.is_first,
    "sum": [tensor.tolist() for tensor in summed],
    "mean": [tensor.tolist() for tensor in averaged],
    "broadcast": [tensor.tolist() for tensor in spread],
    "any": [ranks.any(ranks.rank == 1), ranks.any(False)],
    "max": ranks.max(0.1 + ranks.rank),
    "claimed": list(ranks.claim("some", 40)),
    "claimed_alone": list(ranks.claim("none", 0)),
}
Path(sys.argv[1], f"rank{ranks.rank}.json").write_text(json.dumps(seen))
close_ranks()
