"""Text that the model writes itself, to calibrate on where no training text may be read (#1019, recipes D.3).

Each row begins with a token drawn evenly from the vocabulary, and every further one is drawn from the model's own
distribution at a temperature. There is no cache of keys and values: each token costs a forward over the row so far,
which is slow (197 s on a rank of the record) and has nothing that could differ from the model that is calibrated.
"""

import torch
from jaxtyping import Int
from torch import Tensor

from fairway.data.batches import Batch
from fairway.errors import GateError
from fairway.kernels.softcap_ce import softcap
from fairway.model.gpt import Gpt
from fairway.runtime.ranks import Ranks
from fairway.runtime.seeding import generator
from fairway.spec.quant import OwnText


@torch.no_grad()
def written(model: Gpt, own: OwnText, draws: torch.Generator, *, looped: bool) -> Int[Tensor, "B T"]:
    """One batch of rows, on the CPU; the same draws give the same rows."""
    device = model.get_parameter("embedding").device
    rows_BT = torch.randint(model.spec.vocab_size, (own.batch, 1), generator=draws)
    for _ in range(own.tokens - 1):
        last_BD = model.hidden(rows_BT.to(device), looped=looped)[:, -1]
        logits_BV = softcap(model.raw_logits(last_BD), model.spec.softcap)
        shares_BV = (logits_BV / own.temperature).softmax(-1).cpu()
        rows_BT = torch.cat([rows_BT, shares_BV.multinomial(1, generator=draws)], 1)
    return rows_BT


def own_text(model: Gpt, own: OwnText, ranks: Ranks, seed: int, *, looped: bool) -> list[Batch]:
    """Share of one rank in the recipe's batches, which are the same ones for any number of ranks.

    Targets are the inputs once more: no loss is taken. ``GateError`` if the ranks cannot share the batches evenly.
    """
    batches = own.sequences // own.batch
    if batches % ranks.world:
        raise GateError(f"{batches} batches of own text cannot be shared by {ranks.world} ranks; take another batch")
    found = []
    for place in range(ranks.rank, batches, ranks.world):
        rows_BT = written(model, own, generator(seed, f"own text {place}"), looped=looped)
        found.append(Batch(rows_BT, rows_BT, None))
    return found
