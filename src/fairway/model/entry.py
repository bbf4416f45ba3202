"""What the first layer reads beside the token itself: runs of tokens by hash, and the token before."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fairway.kernels.norms import scaled_rms_norm
from fairway.spec.data import BOS
from fairway.spec.mechanisms import ChannelSmear, NgramHash, NoHash, NoSmear, TokenSmear, ValueEmbedding
from fairway.spec.model import ModelSpec


def embed(
    tokens_BT: Int[Tensor, "B T"],
    positions_T: Int[Tensor, " T"],
    named: Mapping[str, Tensor],
    spec: ModelSpec,
    dtype: torch.dtype,
) -> Float[Tensor, "B T D"]:
    """What the first layer reads, and every layer may mix in again."""
    x = F.embedding(tokens_BT, named["embedding"]).to(dtype)
    if not (isinstance(spec.bigram, NoHash) and isinstance(spec.trigram, NoHash) and isinstance(spec.smear, NoSmear)):
        starts = document_starts_at(tokens_BT, positions_T)
    if isinstance(spec.bigram, NgramHash):
        x = x + hash_vectors(ngram_buckets(tokens_BT, starts, spec.bigram), "bigram", named, dtype)
    if isinstance(spec.trigram, NgramHash):
        x = x + hash_vectors(ngram_buckets(tokens_BT, starts, spec.trigram), "trigram", named, dtype)
    if isinstance(spec.smear, TokenSmear):
        x = smear_tokens(x, starts, named["smear_gate"].to(dtype), named["smear_scale"].to(dtype))
    x = scaled_rms_norm(x)
    if isinstance(spec.smear, ChannelSmear):
        x = smear_channels(x, starts, named["smear_gate"].to(dtype))
    return x


def document_starts_at(tokens_BT: Int[Tensor, "B T"], positions_T: Int[Tensor, " T"]) -> Bool[Tensor, "B T"]:
    """Where nothing before may be read: at the beginning of a row or segment, and at BOS."""
    return (positions_T == 0) | (tokens_BT == BOS)


def ngram_buckets(
    tokens_BT: Int[Tensor, "B T"], starts_BT: Bool[Tensor, "B T"], table: NgramHash
) -> Int[Tensor, "B T"]:
    """Row of the table for the run of tokens that ends at each position (recipes B.3)."""
    buckets = torch.zeros_like(tokens_BT)
    token, cut = tokens_BT, torch.zeros_like(starts_BT)
    for age, multiplier in enumerate(table.multipliers):
        if age:
            cut = cut | starts_BT.roll(age - 1, 1)
            token = tokens_BT.roll(age, 1).masked_fill(cut, 0)
        buckets = buckets ^ (multiplier * token)
    buckets = buckets % (table.buckets - 1)
    return buckets.masked_fill(cut, table.buckets - 1) if table.reserve_last else buckets


def hash_vectors(
    buckets_BT: Int[Tensor, "B T"], table: str, named: Mapping[str, Tensor], dtype: torch.dtype
) -> Float[Tensor, "B T D"]:
    """Rows of a narrow table made as wide as the stream, times a learned number."""
    rows = F.embedding(buckets_BT, named[f"{table}_embedding"]).to(dtype)
    return F.linear(rows, named[f"{table}_weight"].to(dtype)) * named[f"{table}_scale"].to(dtype)


def value_vectors(
    tokens_BT: Int[Tensor, "B T"], named: Mapping[str, Tensor], table: ValueEmbedding, dtype: torch.dtype
) -> dict[int, Tensor]:
    """Layer to what the value embedding adds to its values, (B, T, Dkv) (#374)."""
    rows = F.embedding(tokens_BT, named["value_embedding"]).to(dtype)
    vectors = F.linear(rows, named["value_weight"].to(dtype)) * named["value_scale"].to(dtype)
    scales = named["value_layer_scale"].to(dtype).unbind()
    return {layer: vectors * scale for layer, scale in zip(table.layers, scales, strict=True)}


def token_before(x_BTD: Float[Tensor, "B T D"], starts_BT: Bool[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
    """The vector of the token before; zero where a document starts."""
    return x_BTD.roll(1, 1).masked_fill(starts_BT[..., None], 0.0)


def smear_channels(
    x_BTD: Float[Tensor, "B T D"], starts_BT: Bool[Tensor, "B T"], gate_D: Float[Tensor, " D"]
) -> Float[Tensor, "B T D"]:
    """``(1 - g) x_t + g x_{t-1}`` with ``g = sigmoid(gate)`` (#65)."""
    return torch.lerp(x_BTD, token_before(x_BTD, starts_BT), torch.sigmoid(gate_D))


def smear_tokens(
    x_BTD: Float[Tensor, "B T D"],
    starts_BT: Bool[Tensor, "B T"],
    gate_I: Float[Tensor, " I"],
    scale: Float[Tensor, " 1"],
) -> Float[Tensor, "B T D"]:
    """``x_t + scale sigmoid(gate . x_t[:I]) x_{t-1}`` (#1667, with the mask of #1851)."""
    g_BT = torch.sigmoid(x_BTD[..., : gate_I.shape[0]] @ gate_I)
    return x_BTD + scale * g_BT[..., None] * token_before(x_BTD, starts_BT)
