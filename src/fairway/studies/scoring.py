"""Bits per byte of weights that a study has changed, by the flat method on the first part of validation."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor

from fairway.data.byte_counts import ByteTable, sidecar_targets
from fairway.data.documents import document_lengths
from fairway.data.shards import load_tokens
from fairway.model.banks import bank
from fairway.model.gpt import Gpt
from fairway.runtime.events import EventLog
from fairway.runtime.ranks import Ranks
from fairway.score.evaluate import evaluate
from fairway.spec.model import Loops
from fairway.spec.recipe import Recipe
from fairway.spec.score import Flat
from fairway.studies.inputs import Inputs, Needs

_NO_BUDGET_S = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """Whole documents from the beginning of validation."""

    tokens_N: Int[Tensor, " N"]
    bytes_N: Int[Tensor, " N"]
    """Bytes of text that each position counts as a target."""
    documents: int

    @property
    def words(self) -> str:
        """What it is, for a paragraph."""
        return f"the first {self.documents} documents of validation ({len(self.tokens_N)} tokens)"


def opening_text(inputs: Inputs, recipe: Recipe, tokens: int) -> Text:
    """The first documents of validation that together have at least so many tokens, or all of it.

    ``Needs`` without validation shards or what counts their bytes.
    """
    if inputs.val is None or inputs.tokenizer is None:
        raise Needs("scores need the dataset (--data FOLDER with val/ and tokenizer.model)")
    tokens_N = load_tokens(inputs.val, "val")
    if recipe.data.transform == "caseops":
        bytes_N: Tensor = sidecar_targets(inputs.val, tokens_N)
    else:
        bytes_N = ByteTable.from_tokenizer(inputs.tokenizer).of_targets(tokens_N)
    lengths = document_lengths(tokens_N)
    ends = torch.tensor(lengths).cumsum(0)
    documents = min(len(lengths), 1 + int((ends < tokens).sum()))
    stop = int(ends[documents - 1])
    return Text(tokens_N=tokens_N[:stop], bytes_N=bytes_N[:stop], documents=documents)


def flat_bpb(recipe: Recipe, state: Mapping[str, Tensor], text: Text) -> float:
    """Bits per byte of weights (by names outside banks), each document by itself."""
    model = Gpt(recipe.model)
    model.load_state_dict(bank(state, recipe.model))
    with EventLog(None, stage="study") as events:
        score = evaluate(
            model,
            text.tokens_N,
            text.bytes_N,
            replace(recipe.score, budget_s=_NO_BUDGET_S, ranks="first"),
            Flat(),
            seed=0,
            looped=isinstance(recipe.model.loops, Loops),
            ledger_path=None,
            events=events,
            name="study",
            artifact_sha256="",
            ranks=Ranks(rank=0, world=1, device=torch.device("cpu")),
        )
    return score.bpb
