"""Low-rank adapters of each document in a batch (recipes E.5; #77, #1530)."""

from collections.abc import Iterable

import torch
from torch import Tensor

from fairway.model.depth import schedule
from fairway.model.hooks import ADAPTED_PARTS, HEAD, Hooks, Site
from fairway.spec.model import ModelSpec


class LoraBank:
    """Adapters ``y + scale (x A^T) B^T`` at every slot's q, k, v, o and mlp and at the head, a pair for each document.

    ``A`` starts uniform in +-1/sqrt(inputs), ``B`` zero, so fresh adapters change nothing. Row ``b`` of a batch uses
    the adapters of document ``b``; a forward of fewer rows uses the first ones. Adapters are float32.
    """

    def __init__(
        self,
        spec: ModelSpec,
        *,
        documents: int,
        rank: int,
        looped: bool,
        alpha: float | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.scale = 1.0 if alpha is None else alpha / rank
        self.slots = schedule(spec, looped).slots
        outputs = {"q": spec.width, "k": spec.kv_width, "v": spec.kv_width, "o": spec.width, "mlp": spec.width}
        widths = {
            Site(slot, layer, part): outputs[part] for slot, layer in enumerate(self.slots) for part in ADAPTED_PARTS
        }
        widths[HEAD] = spec.vocab_size
        self._inputs = spec.width
        self._a_flat = torch.zeros(documents * rank * spec.width * len(widths), device=device)
        self._b_flat = torch.zeros(documents * rank * sum(widths.values()), device=device)
        a_parts = self._a_flat.chunk(len(widths))
        b_parts = self._b_flat.split([documents * rank * width for width in widths.values()])
        self.a_BRI: dict[Site, Tensor] = {}
        self.b_BOR: dict[Site, Tensor] = {}
        for (site, width), a, b in zip(widths.items(), a_parts, b_parts, strict=True):
            # Leaves over shared storage: a reset is two kernels, yet each gradient is written where it is made.
            self.a_BRI[site] = a.view(documents, rank, spec.width).detach().requires_grad_()
            self.b_BOR[site] = b.view(documents, width, rank).detach().requires_grad_()

    @torch.no_grad()
    def reset(self, generator: torch.Generator) -> None:
        """Fresh adapters: ``A`` drawn anew, ``B`` zero, gradients gone."""
        bound = self._inputs**-0.5
        self._a_flat.uniform_(-bound, bound, generator=generator)
        self._b_flat.zero_()
        for parameter in self.parameters():
            parameter.grad = None

    @torch.no_grad()
    def take_a(self, other: "LoraBank") -> None:
        """Go on with the ``A`` of another bank, document by document, as far as both have documents."""
        for site, a in other.a_BRI.items():
            rows = min(a.shape[0], self.a_BRI[site].shape[0])
            self.a_BRI[site][:rows] = a[:rows]

    def parameters(self) -> list[Tensor]:
        """All ``A`` (documents, rank, inputs) by site, then all ``B`` (documents, outputs, rank) in the same order."""
        return [*self.a_BRI.values(), *self.b_BOR.values()]

    def lr_multipliers(self, slope: float) -> list[float]:
        """One for each of ``parameters()``: ``1 + slope * slot / (slots - 1)``; the head counts as 1 (#1695)."""
        last = max(len(self.slots) - 1, 1)
        by_site = [1.0 if site == HEAD else 1.0 + slope * site.slot / last for site in self.a_BRI]
        return by_site * 2

    def hooks(self) -> Hooks:
        """Hooks under which the forward is adapted; the same ones serve every forward."""
        return Hooks(adapt=self.adapt)

    def adapt(self, site: Site, x: Tensor, y: Tensor) -> Tensor:
        """``y`` plus what the adapters of ``site`` make of ``x``; rows are documents."""
        a, b = self.a_BRI[site], self.b_BOR[site]
        rows = x.shape[0]
        if rows != a.shape[0]:
            a, b = a[:rows], b[:rows]
        h = torch.bmm(x, a.to(x.dtype).mT)
        return torch.baddbmm(y, h, b.to(x.dtype).mT, alpha=self.scale)


def adapter_elements(parameters: Iterable[Tensor]) -> int:
    """How many numbers adapters of one document hold, from ``LoraBank.parameters``."""
    return sum(parameter[0].numel() for parameter in parameters)
