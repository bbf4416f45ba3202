"""Low-rank adapters of each document's own, one optimizer step after each scored chunk (recipes E.5; #77, #1530).

What is computed is the published scheme; how, is restructured without changing it (performance 3.3): the head and
the loss run on the chunk's rows only, the forward that predicted a chunk is the one that is learned from, documents
leave the batch when they end and their last chunk is predicted without a graph, and with ``beta1 = 0`` the optimizer
keeps no first moment.
"""

import copy
import math
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from fairway.kernels.softcap_ce import softcap, softcap_ce
from fairway.model.adapters import LoraBank
from fairway.model.gpt import Gpt
from fairway.model.hooks import Hooks
from fairway.runtime.seeding import generator
from fairway.score.steps import LearnStep, PlanStep, ScoreStep
from fairway.score.windows import Extent, Span, document_chunks, document_extents, length_batches
from fairway.spec.score import DocumentLora


def lora_steps(
    extents: Sequence[Extent], batch: Sequence[int], *, number: int, chunk: int, context: int
) -> Iterator[PlanStep]:
    """One batch of documents, longest first: score a chunk of each, learn from it where the document goes on."""
    documents = [document_chunks(extents[i], chunk, context) for i in batch]
    chunks = len(documents[0])
    for index in range(chunks):
        spans = tuple(spans[index] for spans in documents if index < len(spans))
        learns = sum(index + 1 < len(spans) for spans in documents)
        yield ScoreStep(spans, chunk=index, batch=number, learns=learns)
        if learns:
            yield LearnStep("lora", tuple((span.start, span.stop) for span in spans[:learns]), index, chunks)


class LoraEvaluator:
    """Adapters beside frozen weights, drawn anew for each batch of documents.

    Batches of one plan may come in any order and to several processes: what is drawn depends on a batch's number
    alone. ``model`` must not ask for gradients.
    """

    def __init__(self, model: Gpt, spec: DocumentLora, *, context: int, looped: bool, seed: int) -> None:
        self._model = model
        self._spec = spec
        self._context = context
        self._looped = looped
        self._seed = seed
        self._bank: LoraBank | None = None
        self._whole: LoraBank | None = None
        self._optimizer: LoraAdamW | None = None
        self._raw_logits_BCV: Tensor | None = None

    def plan(self, lengths: Sequence[int]) -> Iterator[PlanStep]:
        """Batches of documents of like length, the longest first, each in chunks."""
        extents = document_extents(lengths)
        for number, batch in enumerate(length_batches(extents, self._spec.batch_docs)):
            yield from self.batch_steps(extents, batch, number)

    def batch_steps(self, extents: Sequence[Extent], batch: Sequence[int], number: int) -> Iterator[PlanStep]:
        """``lora_steps`` with this method's chunks."""
        return lora_steps(extents, batch, number=number, chunk=self._spec.chunk, context=self._context)

    def predict(self, step: ScoreStep, inputs: Sequence[Int[Tensor, " _"]]) -> Sequence[Float[Tensor, "_ V"]]:
        """Logits of each document's chunk, under its adapters."""
        if step.chunk == 0:
            self._begin_batch(step.batch, len(step.spans))
        assert self._bank is not None and self._optimizer is not None
        going, ending = step.spans[: step.learns], step.spans[step.learns :]
        logits: list[Tensor] = []
        leaving = self._bank
        if going and ending:
            leaving = _bank_part(self._bank, slice(len(going), len(step.spans)))
            self._bank = _bank_part(self._bank, slice(0, len(going)))
            self._optimizer.keep(len(going))
        if going:
            raw_logits_BCV = chunk_logits(
                self._model, going, inputs[: len(going)], looped=self._looped, hooks=self._bank.hooks()
            )
            self._raw_logits_BCV = raw_logits_BCV
            logits += softcap(raw_logits_BCV.detach(), self._model.spec.softcap).unbind()
        if ending:
            with torch.no_grad():
                raw_logits_BCV = chunk_logits(
                    self._model, ending, inputs[len(going) :], looped=self._looped, hooks=leaving.hooks()
                )
                capped_BCV = softcap(raw_logits_BCV, self._model.spec.softcap)
            logits += [row_CV[: span.targets] for row_CV, span in zip(capped_BCV, ending, strict=True)]
        return logits

    def update(
        self, step: LearnStep, inputs: Sequence[Int[Tensor, " _"]], targets: Sequence[Int[Tensor, " _"]]
    ) -> None:
        """Step each document's adapters on the mean loss of its chunk; the graph is the one that predicted it."""
        raw_logits_BCV, self._raw_logits_BCV = self._raw_logits_BCV, None
        assert raw_logits_BCV is not None and self._bank is not None and self._optimizer is not None
        targets_BC = torch.stack(list(targets))
        losses = softcap_ce(raw_logits_BCV.flatten(0, 1), targets_BC.flatten(), self._model.spec.softcap)
        parameters = self._bank.parameters()
        # A sum over documents of means over chunks: no document's step depends on another's.
        gradients = torch.autograd.grad(losses.sum() / targets_BC.shape[1], parameters)
        self._optimizer.step(parameters, gradients)

    def forget(self) -> None:
        """The next batch begins with adapters of its own draw, whatever the recipe keeps (after a pause, #1855)."""
        self._whole = None

    def _begin_batch(self, number: int, documents: int) -> None:
        spec, device = self._spec, self._model.get_parameter("embedding").device
        self._bank = self._optimizer = None  # lets go of the last batch's memory first
        last, self._whole = self._whole, None
        self._bank = LoraBank(
            self._model.spec,
            documents=documents,
            rank=spec.rank,
            looped=self._looped,
            alpha=spec.alpha,
            device=device,
        )
        self._bank.reset(generator(self._seed, f"lora.{number}", device))
        if spec.keep_a:
            if last is not None:
                self._bank.take_a(last)
            self._whole = self._bank
        self._optimizer = LoraAdamW(
            self._bank.parameters(), [spec.lr * scale for scale in self._bank.lr_multipliers(spec.slot_lr_slope)], spec
        )
        if spec.b_lr_ratio != 1.0:
            self._optimizer.speed_up_b(spec.b_lr_ratio)


def chunk_logits(
    model: Gpt, spans: Sequence[Span], inputs: Sequence[Int[Tensor, " _"]], *, looped: bool, hooks: Hooks
) -> Float[Tensor, "B C V"]:
    """Raw logits of the last ``span.targets`` inputs of each row; shorter chunks are padded at their end."""
    tokens_BT = pad_sequence(list(inputs), batch_first=True)
    hidden_BTD = model.hidden(tokens_BT, looped=looped, hooks=hooks)
    longest = max(span.targets for span in spans)
    if len({(span.inputs, span.targets) for span in spans}) == 1:
        hidden_BCD = hidden_BTD[:, -longest:]
    else:
        first_B = torch.tensor([span.inputs - span.targets for span in spans], device=tokens_BT.device)
        rows_BC = first_B[:, None] + torch.arange(longest, device=tokens_BT.device)
        rows_BC = rows_BC.clamp_max(tokens_BT.shape[1] - 1)
        hidden_BCD = hidden_BTD.take_along_dim(rows_BC[:, :, None], dim=1)
    return model.raw_logits(hidden_BCD, hooks)


def _bank_part(bank: LoraBank, rows: slice) -> LoraBank:
    """Adapters of some of the documents: leaves of their own over the same storage, so gradients have their size."""
    part = copy.copy(bank)
    part.a_BRI = {site: a[rows].detach().requires_grad_() for site, a in bank.a_BRI.items()}
    part.b_BOR = {site: b[rows].detach().requires_grad_() for site, b in bank.b_BOR.items()}
    return part


class LoraAdamW:
    """AdamW (decoupled decay), or Adam (decay in the gradient), over tensors whose first axis is documents.

    Documents of a batch begin together and only ever leave, so one count of steps is each document's own. With
    ``beta1 = 0`` the first moment is the gradient and is not stored.
    """

    def __init__(self, parameters: Sequence[Tensor], rates: Sequence[float], spec: DocumentLora) -> None:
        self._rates = list(rates)
        self._spec = spec
        self._steps = 0
        self._second = [torch.zeros_like(parameter, requires_grad=False) for parameter in parameters]
        self._first = [torch.zeros_like(second) for second in self._second] if spec.beta1 else None

    def keep(self, documents: int) -> None:
        """Forget all but the first so many documents."""
        self._second = [second[:documents] for second in self._second]
        if self._first is not None:
            self._first = [first[:documents] for first in self._first]

    def speed_up_b(self, ratio: float) -> None:
        """Multiply the rates of ``B``, the second half of the parameters."""
        half = len(self._rates) // 2
        self._rates[half:] = [rate * ratio for rate in self._rates[half:]]

    @torch.no_grad()
    def step(self, parameters: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        """Move each parameter, in place; a GPU gets a launch or two for all of them where it got seven for each."""
        spec = self._spec
        self._steps += 1
        unbiased_first = 1.0 - spec.beta1**self._steps
        unbiased_second = math.sqrt(1.0 - spec.beta2**self._steps)
        moved, slopes, second = list(parameters), list(gradients), self._second
        if spec.optimizer == "adam":
            slopes = list(torch._foreach_add(slopes, moved, alpha=spec.weight_decay))
        torch._foreach_mul_(second, spec.beta2)
        torch._foreach_addcmul_(second, slopes, slopes, value=1.0 - spec.beta2)
        first = slopes
        if self._first is not None:
            torch._foreach_lerp_(self._first, slopes, 1.0 - spec.beta1)
            first = self._first
        scales = torch._foreach_sqrt(second)
        torch._foreach_div_(scales, unbiased_second)
        torch._foreach_add_(scales, spec.eps)
        if spec.optimizer == "adamw":
            torch._foreach_mul_(moved, [1.0 - rate * spec.weight_decay for rate in self._rates])
        torch._foreach_addcdiv_(moved, first, scales, [-rate / unbiased_first for rate in self._rates])
