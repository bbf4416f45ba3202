"""What a layer reads when it may read all layers before it (hyper-connections, depth attention)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from fairway.kernels.norms import scaled_rms_norm


def legendre(points_N: Float[Tensor, " N"], order: int) -> Float[Tensor, "K N"]:
    """Legendre polynomials of degree 0 to ``order`` at points of -1..1, by the three-term recurrence."""
    rows = [torch.ones_like(points_N), points_N]
    for n in range(1, order):
        rows.append(((2 * n + 1) * points_N * rows[n] - n * rows[n - 1]) / (n + 1))
    return torch.stack(rows[: order + 1])


def depths(count: int, device: torch.device | None = None) -> Float[Tensor, " N"]:
    """Evenly spaced places from -1 to 1; a single one lies at 0."""
    return torch.linspace(-1.0, 1.0, count, device=device) if count > 1 else torch.zeros(count, device=device)


def history_rows(layer: int) -> slice:
    """Rows of a triangular table that belong to a layer: one for the embedding and each layer before it."""
    first = layer * (layer + 1) // 2
    return slice(first, first + layer + 1)


def mix_history(outputs: Sequence[Tensor], mix_ND: Float[Tensor, "N C"]) -> Float[Tensor, "B T D"]:
    """Sum of the embedding and all outputs so far, weighted by a softmax of ``mix`` (one row each)."""
    shares = mix_ND.softmax(0)
    total = outputs[0] * shares[0]
    for output, share in zip(outputs[1:], shares[1:], strict=True):
        total = total + output * share
    return total


def attend_history(
    added: Sequence[Tensor], query_D: Float[Tensor, " D"], place_K: Float[Tensor, " K"]
) -> Float[Tensor, "B T D"]:
    """Mean of what earlier layers added, weighted by a softmax over them (#215).

    A layer's logit is its normalised addition times the query, plus a Legendre series of its place in depth.
    """
    stacked = torch.stack(list(added))
    places = depths(len(added), stacked.device)
    bias = place_K @ legendre(places, place_K.shape[0] - 1).to(place_K)
    logits = scaled_rms_norm(stacked) @ query_D + bias[:, None, None]
    return (logits.softmax(0)[..., None] * stacked).sum(0)
