"""A training script of the field in small: documents in chunks, each scored and then learned from."""

import copy
import glob
import math
import os
import sys

import numpy as np
import sentencepiece
import torch
from torch import nn
from torch.nn.functional import cross_entropy

env = os.environ.get
VOCAB, BOS, CHUNK, CONTEXT = int(env("VOCAB_SIZE", "1024")), 1, 32, 64


def shards(split):
    for name in sorted(glob.glob(os.path.join(env("DATA_PATH", "data"), f"fineweb_{split}_*.bin"))):
        yield np.fromfile(name, dtype="<u2")[512:].astype(np.int64)


class Model(nn.Module):
    def __init__(self, width=24):
        super().__init__()
        self.embed = nn.Embedding(VOCAB, width)
        self.state = nn.GRU(width, width, batch_first=True)
        self.head = nn.Linear(width, VOCAB)

    def forward(self, x):
        return self.head(self.state(self.embed(x))[0])


def documents(tokens):
    begins = (tokens == BOS).nonzero().flatten().tolist()
    return [tokens[a : b + 1] for a, b in zip(begins, [*begins[1:], len(tokens) - 1], strict=True)]


def train(model, tokens, steps, batch, length):
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for step in range(steps):
        part = tokens[step * batch % (len(tokens) - batch - 1) :][: batch + 1]
        loss = cross_entropy(model(part[:-1].view(-1, length)).flatten(0, 1), part[1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def evaluate(model, tokens, sizes):
    """Longest document first; adapted weights are thrown away after each document."""
    nats, count, size = 0.0, 0, 0.0
    for document in sorted(documents(tokens), key=len, reverse=True):
        own = copy.deepcopy(model)
        optimizer = torch.optim.SGD(own.parameters(), lr=0.1)
        for start in range(0, len(document) - 1, CHUNK):
            stop = min(start + CHUNK, len(document) - 1)
            begin = max(0, stop - CONTEXT)
            x, y = document[begin:stop], document[begin + 1 : stop + 1]
            losses = cross_entropy(own(x[None])[0], y, reduction="none")
            # score first
            with torch.no_grad():
                nats += losses[start - begin :].double().sum().item()
            count += stop - start
            size += float(sizes[y[start - begin :]].sum())
            # then learn
            optimizer.zero_grad()
            losses[start - begin :].mean().backward()
            optimizer.step()
    return nats / count, nats / math.log(2) / size


def main():
    torch.manual_seed(int(env("SEED", "1337")))
    sp = sentencepiece.SentencePieceProcessor(model_file=env("TOKENIZER_PATH"))
    sizes = torch.tensor([0.0 if sp.is_control(i) else len(sp.id_to_piece(i)) for i in range(VOCAB)])
    model = Model()
    length = int(env("TRAIN_SEQ_LEN", "1024"))
    steps, batch = int(env("ITERATIONS", "1000")), int(env("TRAIN_BATCH_TOKENS", "524288"))
    train(model, torch.from_numpy(np.concatenate(list(shards("train")))), steps, batch, length)
    loss, bpb = evaluate(model, torch.from_numpy(np.concatenate(list(shards("val")))), sizes)
    sys.stdout.write(f"final_ttt_exact val_loss:{loss:.8f} val_bpb:{bpb:.8f}\n")


if __name__ == "__main__":
    main()
