"""A training script of the field in small: overlapping windows, of which each scores the targets that are new."""

import glob
import math
import os
import sys

import numpy as np
import sentencepiece
import torch
import torch.nn.functional as F
from torch import nn

DATA_PATH = os.environ["DATA_PATH"]
TOKENIZER_PATH = os.environ["TOKENIZER_PATH"]
VOCAB_SIZE = int(os.environ.get("VOCAB_SIZE", "1024"))
ITERATIONS = int(os.environ.get("ITERATIONS", "1000"))
SEQ_LEN = int(os.environ.get("TRAIN_SEQ_LEN", "1024"))
BATCH_TOKENS = int(os.environ.get("TRAIN_BATCH_TOKENS", "524288"))
STRIDE = int(os.environ.get("EVAL_STRIDE", "64"))
DIM, BATCH_SEQS = 32, 4


def load(split):
    files = sorted(f for f in glob.glob(f"{DATA_PATH}/fineweb_{split}_*.bin") if "_bytes_" not in f)
    return torch.from_numpy(np.concatenate([np.fromfile(f, "<u2")[512:] for f in files]).astype(np.int64))


class Mixer(nn.Module):
    def __init__(self):
        super().__init__()
        self.token = nn.Embedding(VOCAB_SIZE, DIM)
        self.decay = nn.Parameter(torch.linspace(0.5, 4.0, DIM))
        self.inner = nn.Linear(DIM, 2 * DIM)
        self.outer = nn.Linear(2 * DIM, DIM)
        self.head = nn.Linear(DIM, VOCAB_SIZE, bias=False)

    def logits(self, x):
        hidden = self.token(x)
        reach = torch.arange(x.size(1))
        weights = torch.exp(-(reach[:, None] - reach[None, :]).clamp(min=0)[..., None] * self.decay.abs())
        weights = weights * (reach[:, None] >= reach[None, :])[..., None]
        hidden = hidden + torch.einsum("tsd,bsd->btd", weights, hidden)
        hidden = hidden + self.outer(torch.relu(self.inner(hidden)).square())
        return self.head(F.layer_norm(hidden, (DIM,)))

    def forward(self, x, y):
        return nn.CrossEntropyLoss()(self.logits(x).flatten(0, 1), y.flatten())


@torch.no_grad()
def eval_val_sliding(model, val_tokens, token_bytes):
    total = val_tokens.numel() - 1
    starts = [ws for ws in range(0, total, STRIDE) if ws + SEQ_LEN - STRIDE < total or ws == 0]
    loss_sum = torch.zeros((), dtype=torch.float64)
    byte_sum, token_count = 0.0, 0
    for first in range(0, len(starts), BATCH_SEQS):
        batch = starts[first : first + BATCH_SEQS]
        x = torch.zeros(len(batch), SEQ_LEN, dtype=torch.int64)
        y = torch.zeros(len(batch), SEQ_LEN, dtype=torch.int64)
        lengths = []
        for i, ws in enumerate(batch):
            window = val_tokens[ws : min(ws + SEQ_LEN, total) + 1]
            lengths.append(window.numel() - 1)
            x[i, : lengths[-1]], y[i, : lengths[-1]] = window[:-1], window[1:]
        logits = model.logits(x)
        nll = F.cross_entropy(logits.reshape(-1, VOCAB_SIZE).float(), y.reshape(-1), reduction="none").reshape(y.shape)
        for i, ws in enumerate(batch):
            new = 0 if ws == 0 else SEQ_LEN - STRIDE
            scored = nll[i, new : lengths[i]].to(torch.float64)
            loss_sum += scored.sum()
            token_count += scored.numel()
            byte_sum += float(token_bytes[y[i, new : lengths[i]]].sum())
    val_loss = (loss_sum / token_count).item()
    return val_loss, val_loss / math.log(2.0) * token_count / byte_sum


torch.manual_seed(int(os.environ.get("SEED", "1337")))
train, val = load("train"), load("val")
pieces = sentencepiece.SentencePieceProcessor(model_file=TOKENIZER_PATH)
sizes = torch.tensor(
    [len(pieces.id_to_piece(i).replace("\u2581", " ")) for i in range(VOCAB_SIZE)], dtype=torch.float64
)
model = Mixer()
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
for step in range(ITERATIONS):
    rows = train[step * BATCH_TOKENS % (len(train) - BATCH_TOKENS - 1) :][: BATCH_TOKENS + 1]
    loss = model(rows[:-1].view(-1, SEQ_LEN), rows[1:].view(-1, SEQ_LEN))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
model.eval()
val_loss, val_bpb = eval_val_sliding(model, val, sizes)
sys.stdout.write(f"final_sliding_exact stride:{STRIDE} val_loss:{val_loss:.8f} val_bpb:{val_bpb:.8f}\n")
