from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from fairway.model.gpt import Gpt
from fairway.runtime.events import EventLog
from fairway.score.budget import Watch
from fairway.score.ledger import Ledger
from fairway.score.referee import Evaluator, Referee
from fairway.score.windows import Span
from fairway.spec.model import Loops, ModelSpec, TwoLanes

VOCAB = 24
BOS = 1


@dataclass(frozen=True)
class Stream:
    """Documents of random tokens."""

    lengths: tuple[int, ...]
    tokens: Tensor
    bytes: Tensor

    def changed_at(self, position: int) -> "Stream":
        tokens = self.tokens.clone()
        tokens[position] = 4 + (tokens[position] - 3) % (VOCAB - 4)
        assert tokens[position] != self.tokens[position]
        return Stream(self.lengths, tokens, self.bytes)


def make_stream(lengths: Sequence[int], seed: int = 0) -> Stream:
    source = torch.Generator().manual_seed(seed)
    tokens = torch.randint(4, VOCAB, (sum(lengths),), generator=source, dtype=torch.int32)
    starts = torch.tensor([0, *lengths]).cumsum(0)[:-1]
    tokens[starts] = BOS
    size_bytes = torch.randint(1, 5, (sum(lengths),), generator=source, dtype=torch.int32)
    size_bytes[starts] = 0
    return Stream(tuple(lengths), tokens, size_bytes)


class RecordingReferee(Referee):
    """Keeps each loss that goes onto the ledger, and the target it belongs to."""

    def _losses(self, number: int, spans: Sequence[Span], logits: Sequence[Tensor]) -> Tensor:
        losses = super()._losses(number, spans, logits)
        self.recorded.append(losses)
        self.positions += [position for span in spans for position in range(span.start, span.stop)]
        return losses

    recorded: list[Tensor]
    positions: list[int]


def losses_in_order(method: Evaluator, stream: Stream) -> tuple[Tensor, list[int]]:
    """Losses in the order of the ledger, and the target of each."""
    referee = RecordingReferee(stream.tokens, stream.bytes, stream.lengths)
    referee.recorded, referee.positions = [], []
    with Ledger(None) as ledger, EventLog(None, stage="evaluate") as events:
        referee.run(method, ledger, settings={}, artifact_sha256="0" * 64, watch=Watch(1e9, events))
    return torch.cat(referee.recorded), referee.positions


def losses_by_target(method: Evaluator, stream: Stream) -> Tensor:
    """Losses in the order of the stream."""
    losses, positions = losses_in_order(method, stream)
    return losses[torch.tensor(positions).argsort()]


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Tensors this small only wait for a second thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def model() -> Gpt:
    """Every mechanism of the forward switched on, every weight random, nothing neutral."""
    spec = ModelSpec(
        vocab_size=VOCAB,
        layers=3,
        width=16,
        heads=2,
        kv_heads=1,
        mlp_width=32,
        rope_dims=4,
        qk_gain=2.0,
        xsa_last=2,
        loops=Loops(first=1, last=1, extra=1),
        lanes=TwoLanes(start=2),
    )
    gpt = Gpt(spec)
    source = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in gpt.named_parameters():
            noise = torch.randn(parameter.shape, generator=source)
            parameter.copy_(0.4 * noise if name.endswith("bank") or name == "embedding" else parameter + 0.2 * noise)
    return gpt.requires_grad_(False)


@pytest.fixture(scope="session")
def streams() -> Callable[..., Stream]:
    return make_stream


@pytest.fixture(scope="session")
def run_in_order() -> Callable[[Evaluator, Stream], tuple[Tensor, list[int]]]:
    return losses_in_order


@pytest.fixture(scope="session")
def run_by_target() -> Callable[[Evaluator, Stream], Tensor]:
    return losses_by_target
