from collections.abc import Callable, Iterator, Sequence

import pytest
import torch

from fairway.model.gpt import Gpt
from fairway.probes.methods import method_subject
from fairway.probes.stream import Stream, make_stream
from fairway.probes.subject import MethodSubject
from fairway.spec.model import ModelSpec, TwoLanes
from fairway.spec.score import (
    AheadPasses,
    ChunkPasses,
    ChunkSgd,
    DocumentLora,
    Flat,
    Method,
    Pass,
    PhasedSgd,
    ScoreSpec,
    Sliding,
)

VOCAB = 24
BOS = 1
LENGTHS = (11, 2, 16, 5, 3, 13, 8)
LORA = DocumentLora(rank=2, chunk=7, batch_docs=2, lr=0.05)
PASS = Pass(lr=0.05, epochs=2)
METHODS: dict[str, Method] = {
    "flat": Flat(),
    "sliding": Sliding(stride=4),
    "lora": LORA,
    "lora, A kept": DocumentLora(rank=2, chunk=7, batch_docs=2, lr=0.05, keep_a=True),
    "phased": PhasedSgd(lora=LORA, prefix_docs=4, phases=2, lr=0.05, chunk_tokens=16, context=8),
    "chunks": ChunkSgd(stride=5, chunk_tokens=20, epochs=2, lr=0.05),
    "chunks, hashed": ChunkSgd(stride=5, chunk_tokens=20, epochs=1, lr=0.05, hash_rows=8),
    "passes": ChunkPasses(
        first=PASS, then=Pass(lr=0.01, optimizer="adam", epochs=1), stride=5, chunk_tokens=20, batch_rows=1
    ),
}
AHEAD = AheadPasses(invalid=True, first=PASS, stride=5, batch_rows=2)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Tensors this small only wait for a second thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def a_stream(lengths: Sequence[int] = LENGTHS, seed: int = 0) -> Stream:
    source = torch.Generator().manual_seed(seed)
    tokens_N = torch.randint(4, VOCAB, (sum(lengths),), generator=source)
    starts = torch.tensor([0, *lengths]).cumsum(0)[:-1]
    tokens_N[starts] = BOS
    bytes_N = torch.randint(1, 5, (sum(lengths),), generator=source)
    bytes_N[starts] = 0
    return make_stream(tokens_N, bytes_N, vocab_size=VOCAB, bos=BOS)


@pytest.fixture(scope="session")
def stream() -> Stream:
    """Seven short documents of random tokens."""
    return a_stream()


@pytest.fixture(scope="session")
def model() -> Gpt:
    """Lanes and rotary halves, every weight random, nothing neutral."""
    spec = ModelSpec(
        vocab_size=VOCAB,
        layers=2,
        width=16,
        heads=2,
        kv_heads=1,
        mlp_width=32,
        rope_dims=4,
        qk_gain=2.0,
        xsa_last=1,
        lanes=TwoLanes(start=1),
    )
    gpt = Gpt(spec)
    source = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in gpt.named_parameters():
            noise = torch.randn(parameter.shape, generator=source)
            parameter.copy_(0.4 * noise if name.endswith("bank") or name == "embedding" else parameter + 0.2 * noise)
    return gpt.requires_grad_(False)


@pytest.fixture(params=METHODS)
def legal(request: pytest.FixtureRequest, subject_of: Callable[[Method], MethodSubject]) -> MethodSubject:
    """Every method that a recipe may name."""
    return subject_of(METHODS[request.param])


@pytest.fixture
def ahead(subject_of: Callable[[Method], MethodSubject]) -> MethodSubject:
    """The one that learns before it scores."""
    return subject_of(AHEAD)


@pytest.fixture(scope="session")
def subject_of(model: Gpt) -> Callable[[Method], MethodSubject]:
    """A method over the random model."""

    def make(method: Method) -> MethodSubject:
        spec = ScoreSpec(context=10, batch_tokens=40, method=method, diagnostic=Flat(), budget_s=60.0)
        return method_subject(model, spec, method, seed=5, looped=False)

    return make
