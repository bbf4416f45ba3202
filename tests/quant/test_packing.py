import torch
from hypothesis import given
from hypothesis import strategies as st

from fairway.quant.packing import QuantizedModel, StoredTensor, from_streams, raw_sizes, to_streams
from fairway.spec.roles import Role


@given(seed=st.integers(0, 999), layers=st.integers(0, 3), kept=st.booleans())
def test_streams_have_the_sizes_that_shapes_say_and_give_the_tensors_back(seed, layers, kept):
    generator = torch.Generator().manual_seed(seed)
    tensors = [StoredTensor("embedding", (7, 3), Role.EMBEDDING, 8)]
    tensors += [StoredTensor(f"blocks.{i}.up", (5, 3), Role.MLP_UP, 6) for i in range(layers)]
    tensors += [StoredTensor("resid_mix", (2, 2, 3), Role.CONTROL, 16)] * kept
    model = QuantizedModel({}, {}, {})
    for tensor in tensors:
        if tensor.is_kept:
            model.kept[tensor.name] = torch.randn(tensor.shape, generator=generator).half()
        else:
            model.symbols[tensor.name] = torch.randint(-127, 128, tensor.shape, generator=generator).to(torch.int8)
            model.steps[tensor.name] = torch.rand(tensor.shape[0], generator=generator).half()
    streams = to_streams(tensors, model)
    assert {name: len(raw) for name, raw in streams.items()} == raw_sizes(tensors)
    assert list(streams) == list(raw_sizes(tensors))
    back = from_streams(tensors, streams)
    for group in ("symbols", "steps", "kept"):
        ours, theirs = getattr(back, group), getattr(model, group)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) and ours[name].is_contiguous() for name in ours)


def test_symbols_of_one_input_channel_stand_together():
    symbols = torch.tensor([[1, 2, 3], [4, 5, 6]], dtype=torch.int8)
    tensors = [StoredTensor("blocks.0.q", (2, 3), Role.QUERY, 6)]
    model = QuantizedModel({"blocks.0.q": symbols}, {"blocks.0.q": torch.tensor([1.0, 2.0]).half()}, {})
    assert to_streams(tensors, model) == {"query": bytes([1, 4, 2, 5, 3, 6]), "steps": bytes([0, 0x3C, 0, 0x40])}
