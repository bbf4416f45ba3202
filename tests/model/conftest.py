"""The forward once more, slowly: from the formulas of the recipes, in float64, token by token where that is plainer."""

import pytest
import torch

from fairway.spec.mechanisms import (
    AddedSkips,
    ChannelSmear,
    DenseHeadGate,
    DepthAttention,
    GatedSkips,
    HyperConnections,
    NgramHash,
    SparseHeadGate,
    SymLayers,
    SymMix,
    TokenSmear,
    ValueEmbedding,
)
from fairway.spec.model import Loops

BOS = 1


def rms(x):
    return x / (x.square().mean(-1, keepdim=True) + torch.finfo(torch.float32).eps).sqrt()


def sigmoid(x):
    return 1 / (1 + torch.exp(-x))


class Twin:
    """One row of tokens through a model's weights."""

    def __init__(self, model):
        self.spec = model.spec
        self.w = {name: parameter.detach().double() for name, parameter in model.named_parameters()}
        self.first_value = None

    def ngram(self, tokens, name, table):
        rows = []
        for t in range(len(tokens)):
            run = []
            for age in range(len(table.multipliers)):
                if any(t - back < 1 or tokens[t - back] == BOS for back in range(age)):
                    run.append(None)
                else:
                    run.append(int(tokens[t - age]))
            bucket = 0
            for token, multiplier in zip(run, table.multipliers, strict=True):
                bucket ^= multiplier * (token or 0)
            bucket %= table.buckets - 1
            if None in run and table.reserve_last:
                bucket = table.buckets - 1
            rows.append(self.w[f"{name}_weight"] @ self.w[f"{name}_embedding"][bucket] * self.w[f"{name}_scale"])
        return torch.stack(rows)

    def before(self, x, tokens, t):
        return torch.zeros_like(x[0]) if t == 0 or tokens[t] == BOS else x[t - 1]

    def entry(self, tokens):
        spec, w = self.spec, self.w
        x = w["embedding"][tokens]
        for name, table in (("bigram", spec.bigram), ("trigram", spec.trigram)):
            if isinstance(table, NgramHash):
                x = x + self.ngram(tokens, name, table)
        if isinstance(spec.smear, TokenSmear):
            gates = [sigmoid(w["smear_gate"] @ row[: spec.smear.inputs]) for row in x]
            rows = [x[t] + w["smear_scale"] * gates[t] * self.before(x, tokens, t) for t in range(len(x))]
            x = torch.stack(rows)
        x = rms(x)
        if isinstance(spec.smear, ChannelSmear):
            g = sigmoid(w["smear_gate"])
            x = torch.stack([(1 - g) * x[t] + g * self.before(x, tokens, t) for t in range(len(x))])
        return x

    def qo(self, index):
        matrix, spec = self.w["qo_bank"][index], self.spec
        if isinstance(spec.symmetry, SymMix):
            return matrix + torch.tanh(self.w["qo_mix"][index]) * matrix.T
        if isinstance(spec.symmetry, SymLayers) and index % spec.layers in spec.symmetry.layers:
            return (matrix + matrix.T) / 2
        return matrix

    def turned(self, x, position):
        half = self.spec.rope_dims // 2
        a, b, rest = x[:half], x[half : 2 * half], x[2 * half :]
        angle = position * self.spec.rope_base ** (-torch.arange(half, dtype=torch.float64) * 2 / self.spec.rope_dims)
        return torch.cat([a * angle.cos() + b * angle.sin(), b * angle.cos() - a * angle.sin(), rest])

    def correction(self, slot, which, x):
        """Low-rank correction ``which`` of q, k, v, o of one run, for one token."""
        if not (isinstance(self.spec.loops, Loops) and self.spec.loops.adapter_rank):
            return 0.0
        name, place = {"q": ("qo", 0), "o": ("qo", 1), "k": ("kv", 0), "v": ("kv", 1)}[which]
        inward = self.w["run_in_weight"][slot, "qkvo".index(which)]
        return self.w[f"run_{name}_weight"][slot, place] @ (inward @ x)

    def attention(self, n, tokens, slot, layer):
        spec, w, length = self.spec, self.w, len(n)
        kw, vw = w["kv_bank"][layer], w["kv_bank"][spec.layers + layer]
        if spec.q_rank:
            qw, ow = w["q_out_bank"][layer] @ w["q_in_bank"][layer], w["qo_bank"][layer]
        else:
            qw, ow = self.qo(layer), self.qo(spec.layers + layer)
        q = torch.stack([qw @ x + self.correction(slot, "q", x) for x in n]).view(length, spec.heads, -1)
        k = torch.stack([kw @ x + self.correction(slot, "k", x) for x in n]).view(length, spec.kv_heads, -1)
        v = torch.stack([vw @ x + self.correction(slot, "v", x) for x in n])
        if isinstance(spec.value_embedding, ValueEmbedding) and layer in spec.value_embedding.layers:
            scale = w["value_scale"] * w["value_layer_scale"][spec.value_embedding.layers.index(layer)]
            v = v + scale * w["value_embedding"][tokens] @ w["value_weight"].T
        v = v.view(length, spec.kv_heads, -1)
        if spec.value_residual:
            self.first_value = v if self.first_value is None else self.first_value
            v = w["value_mix"][layer, 0] * self.first_value + w["value_mix"][layer, 1] * v
        out = []
        for t in range(length):
            heads = []
            for h in range(spec.heads):
                g = h // (spec.heads // spec.kv_heads)
                query = self.turned(rms(q[t, h]), t) * w["q_gain"][layer, h]
                scores = [query @ self.turned(rms(k[s, g]), s) / spec.head_width**0.5 for s in range(t + 1)]
                shares = torch.stack(scores).softmax(0)
                y = sum(shares[s] * v[s, g] for s in range(t + 1))
                if layer >= spec.layers - spec.xsa_last:
                    unit = v[t, g] / v[t, g].norm()
                    y = y - (y @ unit) * unit
                if isinstance(spec.head_gate, DenseHeadGate):
                    bias = 0.0 if spec.head_gate.bias is None else w["head_bias"][layer, h]
                    y = y * sigmoid(w["head_gate"][layer, h] @ n[t] + bias)
                if isinstance(spec.head_gate, SparseHeadGate):
                    first = n[t, : spec.head_gate.inputs]
                    y = y * sigmoid(spec.head_gate.scale * (w["head_gate"][layer, h] @ first))
                heads.append(y)
            y = torch.cat(heads)
            out.append(ow @ y + self.correction(slot, "o", y))
        return torch.stack(out)

    def mlp(self, n, layer):
        spec, w = self.spec, self.w
        if spec.angle_pairs:
            p = spec.angle_pairs
            theta = n @ w["angle_weight"][layer].T
            u, v = n[:, :p], n[:, p : 2 * p]
            turned = [u * theta.cos() - v * theta.sin(), u * theta.sin() + v * theta.cos(), n[:, 2 * p :]]
            n = torch.cat(turned, 1)
        u = n @ w["up_bank"][layer].T
        h = torch.where(u > 0, u, spec.negative_slope * u) ** 2
        if spec.star_relu:
            h = h * w["star_scale"][layer] + w["star_bias"][layer]
        return h @ w["down_bank"][layer].T

    def block(self, x, x0, tokens, slot, layer):
        w, scale = self.w, (layer + 1) ** -0.5 if self.spec.ln_scale else 1.0
        x = w["resid_mix"][layer, 0] * x + w["resid_mix"][layer, 1] * x0
        x = x + w["attn_scale"][layer] * self.attention(rms(x) * scale, tokens, slot, layer)
        return x + w["mlp_scale"][layer] * self.mlp(rms(x) * scale, layer)

    def hidden(self, tokens, order):
        """Final-normed hidden states of one row; ``order`` is the layer of each slot."""
        spec, w = self.spec, self.w
        x = x0 = self.entry(tokens)
        outputs, added, skips = [x0], [], []
        for slot, layer in enumerate(order):
            if isinstance(spec.skips, HyperConnections):
                first = slot * (slot + 1) // 2
                shares = w["hyper_mix"][first : first + slot + 1].softmax(0)
                x = sum(share * output for share, output in zip(shares, outputs, strict=True))
            into = slot - len(order) // 2
            if into >= 0 and skips and isinstance(spec.skips, AddedSkips):
                x = x + w["skip_weight"][into] * skips.pop()
            elif into >= 0 and skips and isinstance(spec.skips, GatedSkips):
                g = sigmoid(w["skip_gate"][into])
                x = g * x + (1 - g) * w["skip_weight"][into] * skips.pop()
            y = self.block(x, x0, tokens, slot, layer)
            if into < 0:
                skips.append(y)
            outputs.append(y)
            added.append(y - x)
            x = y
            if isinstance(spec.skips, DepthAttention):
                x = x0 + self.depth_mean(added, slot)
        return rms(x)

    def depth_mean(self, added, slot):
        places = torch.linspace(-1, 1, len(added), dtype=torch.float64) if len(added) > 1 else torch.zeros(1)
        rows = []
        for t in range(len(added[0])):
            logits = [
                rms(one[t]) @ self.w["depth_weight"][slot] + self.series(self.w["depth_mix"][slot], place.item())
                for one, place in zip(added, places, strict=True)
            ]
            shares = torch.stack(logits).softmax(0)
            rows.append(sum(share * one[t] for share, one in zip(shares, added, strict=True)))
        return torch.stack(rows)

    @staticmethod
    def series(coefficients, z):
        """Legendre polynomials 0 to 4, written out."""
        p = [1, z, (3 * z**2 - 1) / 2, (5 * z**3 - 3 * z) / 2, (35 * z**4 - 30 * z**2 + 3) / 8]
        return sum(c * value for c, value in zip(coefficients, p, strict=True))


@pytest.fixture
def twin():
    """The slow forward: ``twin(model).hidden(tokens, layers of the slots)``."""
    return Twin
