"""A training script of the field in small: every validation target in rows of one length, scored in one pass."""

import glob
import io
import math
import os
import sys
import zlib

import numpy as np
import sentencepiece
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Hyperparameters:
    data_path = os.environ.get("DATA_PATH", "./data/datasets/fineweb10B_sp1024")
    tokenizer_path = os.environ.get("TOKENIZER_PATH", "./data/tokenizers/fineweb_1024_bpe.model")
    seed = int(os.environ.get("SEED", 1337))
    vocab_size = int(os.environ.get("VOCAB_SIZE", 1024))
    iterations = int(os.environ.get("ITERATIONS", 1000))
    seq_len = int(os.environ.get("TRAIN_SEQ_LEN", 1024))
    batch_tokens = int(os.environ.get("TRAIN_BATCH_TOKENS", 524_288))
    val_batch_size = int(os.environ.get("VAL_BATCH_SIZE", 524_288))
    num_layers = int(os.environ.get("NUM_LAYERS", 2))
    model_dim = int(os.environ.get("MODEL_DIM", 32))
    num_heads = int(os.environ.get("NUM_HEADS", 2))


def log0(message: str) -> None:
    sys.stdout.write(f"{message}\n")


def load_shards(pattern: str) -> Tensor:
    files = sorted(glob.glob(pattern))
    if not files:
        raise FileNotFoundError(pattern)
    parts = []
    for file in files:
        header = np.fromfile(file, dtype="<i4", count=256)
        assert header[0] == 20240520 and header[1] == 1, file
        parts.append(np.fromfile(file, dtype="<u2", offset=1024)[: header[2]].astype(np.int64))
    return torch.from_numpy(np.concatenate(parts))


def byte_tables(path: str, vocab_size: int) -> tuple[Tensor, Tensor, Tensor]:
    sp = sentencepiece.SentencePieceProcessor(model_file=path)
    assert sp.vocab_size() == vocab_size, f"the tokenizer has {sp.vocab_size()} pieces, VOCAB_SIZE is {vocab_size}"
    size, spaced, boundary = np.zeros(vocab_size), np.zeros(vocab_size, bool), np.ones(vocab_size, bool)
    for token in range(vocab_size):
        if not (sp.is_control(token) or sp.is_unknown(token)):
            piece = sp.id_to_piece(token)
            boundary[token], spaced[token] = False, piece.startswith("\u2581")
            size[token] = len(piece.removeprefix("\u2581").encode())
    return torch.from_numpy(size), torch.from_numpy(spaced), torch.from_numpy(boundary)


class Block(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim, bias=False)
        self.up, self.down = nn.Linear(dim, 2 * dim, bias=False), nn.Linear(2 * dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        b, t, d = x.shape
        q, k, v = self.qkv(F.rms_norm(x, (d,))).view(b, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(b, t, d))
        return x + self.down(F.relu(self.up(F.rms_norm(x, (d,)))).square())


class GPT(nn.Module):
    def __init__(self, args: type[Hyperparameters]) -> None:
        super().__init__()
        self.tok_emb = nn.Embedding(args.vocab_size, args.model_dim)
        self.blocks = nn.ModuleList([Block(args.model_dim, args.num_heads) for _ in range(args.num_layers)])

    def forward(self, input_ids: Tensor, target_ids: Tensor) -> Tensor:
        x = self.tok_emb(input_ids)
        for block in self.blocks:
            x = block(x)
        logits = F.linear(F.rms_norm(x, (x.size(-1),)), self.tok_emb.weight).reshape(-1, self.tok_emb.num_embeddings)
        logits = 30.0 * torch.tanh(logits / 30.0)
        return F.cross_entropy(logits.float(), target_ids.reshape(-1), reduction="mean")


def eval_val(args: type[Hyperparameters], model: nn.Module, val_tokens: Tensor, tables: tuple[Tensor, ...]):
    size, spaced, boundary = tables
    rows = (val_tokens.numel() - 1) // args.seq_len
    per_batch = max(1, args.val_batch_size // args.seq_len)
    loss_sum = torch.zeros((), dtype=torch.float64)
    token_count = torch.zeros((), dtype=torch.float64)
    byte_count = torch.zeros((), dtype=torch.float64)
    model.eval()
    with torch.inference_mode():
        for first in range(0, rows, per_batch):
            last = min(first + per_batch, rows)
            local = val_tokens[first * args.seq_len : last * args.seq_len + 1]
            x, y = local[:-1].reshape(-1, args.seq_len), local[1:].reshape(-1, args.seq_len)
            loss_sum += model(x, y).detach().to(torch.float64) * y.numel()
            token_count += y.numel()
            byte_count += (size[y] + (spaced[y] & ~boundary[x])).sum()
    model.train()
    val_loss = loss_sum / token_count
    return float(val_loss.item()), float(val_loss.item() / math.log(2) * (token_count / byte_count).item())


def main() -> None:
    args = Hyperparameters
    torch.manual_seed(args.seed)
    train_tokens = load_shards(os.path.join(args.data_path, "fineweb_train_*.bin"))
    val_tokens = load_shards(os.path.join(args.data_path, "fineweb_val_*.bin"))
    tables = byte_tables(args.tokenizer_path, args.vocab_size)
    base_model = GPT(args)
    model = torch.compile(base_model, dynamic=False, fullgraph=True)
    optimizer = torch.optim.Adam(base_model.parameters(), lr=0.01)
    for step in range(args.iterations):
        start = step * args.batch_tokens % (train_tokens.numel() - args.batch_tokens - 1)
        local = train_tokens[start : start + args.batch_tokens + 1]
        loss = model(local[:-1].reshape(-1, args.seq_len), local[1:].reshape(-1, args.seq_len))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        log0(f"step:{step + 1}/{args.iterations} train_loss:{loss.item():.4f}")
    val_loss, val_bpb = eval_val(args, model, val_tokens, tables)
    log0(f"step:{args.iterations}/{args.iterations} val_loss:{val_loss:.4f} val_bpb:{val_bpb:.4f}")
    blob = io.BytesIO()
    torch.save({name: weight.half() for name, weight in base_model.state_dict().items()}, blob)
    with open("final_model.ptz", "wb") as file:
        file.write(zlib.compress(blob.getvalue()))
    with open("final_model.ptz", "rb") as file:
        state = torch.load(io.BytesIO(zlib.decompress(file.read())), weights_only=True)
    base_model.load_state_dict({name: weight.float() for name, weight in state.items()})
    q_loss, q_bpb = eval_val(args, model, val_tokens, tables)
    log0(f"final_fp16_zlib_roundtrip_exact val_loss:{q_loss:.8f} val_bpb:{q_bpb:.8f}")


if __name__ == "__main__":
    main()
