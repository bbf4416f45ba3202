"""A made-up submission of a stranger: three seeds whose numbers hang together, one file at a time to be broken.

``submission(tmp_path, files={"train_seed7.log": None, "README.md": "x"})`` writes the whole folder with these files
replaced (``None``: left out) and reads it as the judge does. Nothing of the package that is judged makes the numbers.
"""

import json
import math
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairway.verify.leaderboard import Leaderboard
from fairway.verify.submission import Change, Submission, read_submission
from fairway.verify.tracks import Track, find_track, load_track
from fairway.verify.tree import FolderTree

NAME = "2026-04-02_Made_Up"
TRACK = "10min_16mb"
SEEDS = (7, 42, 1337)
TARGETS = 62_021_632
"""Tokens of the validation set in the vocabulary of 1,024 pieces."""
VAL_BYTES = 151_080_891
"""Bytes of its text, as the merged logs imply them."""
LOSSES = {7: 1.83012345, 42: 1.83112345, 1337: 1.82912345}
MODEL_BYTES = {7: 15_810_101, 42: 15_820_202, 1337: 15_815_303}

PROGRAM = '''"""A plain program: train on training shards, pack, unpack, score once from left to right."""

import glob
import io
import math
import os
import sys
import time
import zlib

import numpy as np
import sentencepiece as spm
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn


class Hyperparameters:
    data_path = os.environ.get("DATA_PATH", "./data/datasets/fineweb10B_sp1024")
    train_files = os.path.join(data_path, "fineweb_train_*.bin")
    val_files = os.path.join(data_path, "fineweb_val_*.bin")
    tokenizer_path = os.environ.get("TOKENIZER_PATH", "./data/tokenizers/fineweb_1024_bpe.model")
    seed = int(os.environ.get("SEED", 1337))
    iterations = int(os.environ.get("ITERATIONS", 20000))
    max_wallclock_seconds = float(os.environ.get("MAX_WALLCLOCK_SECONDS", 600.0))
    seq_len = int(os.environ.get("TRAIN_SEQ_LEN", 1024))
    vocab_size = 1024
    dim = 512
    lr = 0.04


def load_shard(path: str) -> Tensor:
    header = np.fromfile(path, dtype="<i4", count=256)
    return torch.from_numpy(np.fromfile(path, dtype="<u2", count=int(header[2]), offset=1024).astype(np.int32))


def load_validation(pattern: str, seq_len: int) -> Tensor:
    tokens = torch.cat([load_shard(path) for path in sorted(glob.glob(pattern))])
    return tokens[: (tokens.numel() - 1) // seq_len * seq_len + 1]


def byte_tables(sp, vocab_size: int) -> tuple[Tensor, Tensor, Tensor]:
    sizes = np.zeros(vocab_size, dtype=np.int16)
    spaced = np.zeros(vocab_size, dtype=np.bool_)
    boundary = np.ones(vocab_size, dtype=np.bool_)
    for token in range(min(vocab_size, sp.vocab_size())):
        if sp.is_control(token) or sp.is_unknown(token) or sp.is_unused(token):
            continue
        boundary[token] = False
        if sp.is_byte(token):
            sizes[token] = 1
            continue
        piece = sp.id_to_piece(token)
        if piece.startswith("\\u2581"):
            spaced[token] = True
            piece = piece[1:]
        sizes[token] = len(piece.encode("utf-8"))
    return torch.tensor(sizes), torch.tensor(spaced), torch.tensor(boundary)


class Model(nn.Module):
    def __init__(self, vocab_size: int, dim: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocab_size, dim)
        self.mix = nn.GRU(dim, dim, batch_first=True)
        self.head = nn.Linear(dim, vocab_size, bias=False)

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        hidden, _ = self.mix(self.embed(inputs))
        return F.cross_entropy(self.head(hidden).flatten(0, 1).float(), targets.flatten())


def evaluate(args, model, val_tokens, tables, device) -> tuple[float, float]:
    sizes, spaced, boundary = tables
    loss_sum, token_count, byte_count = 0.0, 0, 0.0
    model.eval()
    with torch.inference_mode():
        for start in range(0, val_tokens.numel() - 1, args.seq_len):
            window = val_tokens[start : start + args.seq_len + 1].to(device, torch.int64)
            x, y = window[:-1][None], window[1:][None]
            loss_sum += float(model(x, y).double()) * y.numel()
            token_count += y.numel()
            size = sizes[y] + (spaced[y] & ~boundary[x])
            byte_count += float(size.double().sum())
    loss = loss_sum / token_count
    return loss, loss / math.log(2.0) * (token_count / byte_count)


def main() -> None:
    code = open(__file__, encoding="utf-8").read()
    args = Hyperparameters()
    rank, world_size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group(backend="nccl")
    torch.manual_seed(args.seed)

    def log0(message: str) -> None:
        if rank == 0:
            print(message)

    log0(code)
    log0("=" * 100)
    log0(f"Running Python {sys.version}")
    sp = spm.SentencePieceProcessor(model_file=args.tokenizer_path)
    val_tokens = load_validation(args.val_files, args.seq_len)
    tables = byte_tables(sp, args.vocab_size)
    log0(f"val_loader:shards pattern={args.val_files} tokens:{val_tokens.numel() - 1}")
    log0(f"world_size:{world_size} grad_accum_steps:1")
    log0(f"seed:{args.seed}")
    model = Model(args.vocab_size, args.dim).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    files = sorted(glob.glob(args.train_files))
    began, step = time.perf_counter(), 0
    while step < args.iterations:
        shard = load_shard(files[(step * world_size + rank) % len(files)]).to(device, torch.int64)
        at = torch.randint(0, shard.numel() - args.seq_len - 1, (64,)).tolist()
        x = torch.stack([shard[i : i + args.seq_len] for i in at])
        y = torch.stack([shard[i + 1 : i + 1 + args.seq_len] for i in at])
        loss = model(x, y)
        loss.backward()
        for parameter in model.parameters():
            dist.all_reduce(parameter.grad, op=dist.ReduceOp.AVG)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        elapsed = 1000.0 * (time.perf_counter() - began)
        if step % 1000 == 0:
            log0(f"step:{step}/{args.iterations} train_loss:{loss.item():.4f} train_time:{elapsed:.0f}ms")
        if elapsed >= 1000.0 * args.max_wallclock_seconds:
            log0(f"stopping_early: wallclock_cap train_time:{elapsed:.0f}ms step:{step}/{args.iterations}")
            break
    buffer = io.BytesIO()
    torch.save({name: weight.half() for name, weight in model.state_dict().items()}, buffer)
    blob = zlib.compress(buffer.getvalue(), level=9)
    with open("final_model.ptz", "wb") as file:
        file.write(blob)
    size = len(code.encode("utf-8"))
    log0(f"Code size: {size} bytes")
    log0(f"Serialized model int8+zlib: {len(blob)} bytes")
    log0(f"Total submission size int8+zlib: {size + len(blob)} bytes")
    with open("final_model.ptz", "rb") as file:
        state = torch.load(io.BytesIO(zlib.decompress(file.read())), map_location=device, weights_only=True)
    model.load_state_dict({name: weight.float() for name, weight in state.items()})
    began = time.perf_counter()
    loss, bpb = evaluate(args, model, val_tokens, tables, device)
    spent = 1000.0 * (time.perf_counter() - began)
    log0(f"final_int8_zlib_roundtrip val_loss:{loss:.4f} val_bpb:{bpb:.4f} eval_time:{spent:.0f}ms")
    log0(f"final_int8_zlib_roundtrip_exact val_loss:{loss:.8f} val_bpb:{bpb:.8f}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
'''


def bpb(loss: float, *, targets: int = TARGETS, val_bytes: int = VAL_BYTES) -> float:
    """Bits per byte of a loss in nats per token."""
    return loss / math.log(2.0) * targets / val_bytes


def log(
    seed: int,
    *,
    program: str = PROGRAM,
    loss: float | None = None,
    score: float | None = None,
    targets: int = TARGETS,
    model_bytes: int | None = None,
    code_bytes: int | None = None,
    total_bytes: int | None = None,
    train_ms: int = 599_900,
    eval_ms: int = 21_400,
    world_size: int = 8,
    gpu: str = "NVIDIA H100 80GB HBM3",
    extra: str = "",
) -> str:
    """The log of one seed in the format of the baseline; ``extra`` lines stand before the final score."""
    loss = LOSSES.get(seed, 1.88) if loss is None else loss
    score = bpb(loss, targets=targets) if score is None else score
    code_bytes = len(program.encode()) if code_bytes is None else code_bytes
    model_bytes = MODEL_BYTES.get(seed, 15_800_000) if model_bytes is None else model_bytes
    total_bytes = code_bytes + model_bytes if total_bytes is None else total_bytes
    step = train_ms // 45
    table = [
        f"|   {number}  {gpu}          On  |   00000000:{number:02X}:00.0 Off |                    0 |"
        for number in range(world_size)
    ]
    lines = [
        program,
        "=" * 100,
        "Running Python 3.12.3 (main, Feb  4 2025, 14:48:35) [GCC 13.3.0]",
        "Running PyTorch 2.9.1+cu128",
        "| NVIDIA-SMI 570.86.15              Driver Version: 570.86.15      CUDA Version: 12.8     |",
        *table,
        "=" * 100,
        f"val_loader:shards pattern=./data/datasets/fineweb10B_sp1024/fineweb_val_*.bin tokens:{targets}",
        f"world_size:{world_size} grad_accum_steps:1",
        f"train_batch_tokens:524288 train_seq_len:1024 iterations:20000 max_wallclock_seconds:600.000 seed:{seed}",
        f"seed:{seed}",
        f"step:1000/20000 train_loss:2.3{seed % 10}20 train_time:45{seed % 10}10ms step_avg:45.01ms",
        f"step:{step}/20000 train_loss:1.9{seed % 10}34 train_time:{train_ms}ms step_avg:45.00ms",
        f"step:{step}/20000 val_loss:{loss - 0.01:.4f} val_bpb:{score - 0.006:.4f} train_time:{train_ms}ms",
        f"stopping_early: wallclock_cap train_time:{train_ms}ms step:{step}/20000",
        "Serialized model: 67224983 bytes",
        f"Code size: {code_bytes} bytes",
        f"Total submission size: {67_224_983 + code_bytes} bytes",
        f"Serialized model int8+zlib: {model_bytes} bytes (payload:17178912 raw_torch:17224025 payload_ratio:3.91x)",
        f"Total submission size int8+zlib: {total_bytes} bytes",
        *extra.splitlines(),
        f"final_int8_zlib_roundtrip val_loss:{loss:.4f} val_bpb:{score:.4f} eval_time:{eval_ms}ms",
        f"final_int8_zlib_roundtrip_exact val_loss:{loss:.8f} val_bpb:{score:.8f}",
    ]
    return "\n".join(lines) + "\n"


def claim(*, program: str = PROGRAM, seeds: tuple[int, ...] = SEEDS, **changed: Any) -> dict[str, Any]:
    """The submission.json of the made-up logs; a key with the value ``None`` is left out."""
    scores = {seed: round(bpb(LOSSES.get(seed, 1.88)), 8) for seed in seeds}
    losses = {seed: LOSSES.get(seed, 1.88) for seed in seeds}
    totals = {seed: len(program.encode()) + MODEL_BYTES.get(seed, 15_800_000) for seed in seeds}
    value = {
        "author": "A. Nobody",
        "github_id": "nobody",
        "name": "Made up",
        "blurb": "Nothing of this ever ran.",
        "date": NAME[:10],
        "track": TRACK,
        "val_bpb": round(statistics.fmean(scores.values()), 8),
        "val_bpb_std": round(statistics.stdev(scores.values()), 8) if len(seeds) > 1 else None,
        "val_loss": round(statistics.fmean(losses.values()), 8),
        "bytes_total": max(totals.values()),
        "bytes_code": len(program.encode()),
        "seeds": list(seeds),
        "seed_results": {
            str(seed): {"val_bpb": scores[seed], "val_loss": losses[seed], "bytes_total": totals[seed]}
            for seed in seeds
        },
        "hardware": "8xH100 80GB SXM",
        **changed,
    }
    return {key: entry for key, entry in value.items() if entry is not None}


def readme(*, value: dict[str, Any] | None = None) -> str:
    """A README that states what submission.json states."""
    value = claim() if value is None else value
    rows = [
        f"| {seed} | {result['val_bpb']:.8f} | {result['val_loss']:.8f} | {result['bytes_total']:,} |"
        for seed, result in value.get("seed_results", {}).items()
    ]
    return "\n".join(
        [
            f"# Made up: val_bpb {value.get('val_bpb', 0.0):.8f}",
            "",
            "| seed | val_bpb | val_loss | bytes |",
            "| --- | --: | --: | --: |",
            *rows,
            "",
            "Run with `torchrun --standalone --nproc_per_node=8 train_gpt.py` on 8xH100 SXM.",
            "",
        ]
    )


def whole() -> dict[str, str | bytes]:
    """Every file of the made-up folder."""
    return {
        "README.md": readme(),
        "submission.json": json.dumps(claim(), indent=2) + "\n",
        "train_gpt.py": PROGRAM,
        **{f"train_seed{seed}.log": log(seed) for seed in SEEDS},
    }


def write(folder: Path, files: Mapping[str, str | bytes | None] | None = None, *, defaults: bool = True) -> Path:
    """Write the made-up folder with some files replaced (``None``: left out); only ``files`` without ``defaults``."""
    content: dict[str, str | bytes | None] = {**(whole() if defaults else {}), **(files or {})}
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in content.items():
        if data is not None:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data)
    return folder


def track_named(name: str = TRACK) -> Track:
    """A track of the repository."""
    return load_track(find_track(name, [Path(__file__)]))


def submission(
    tmp_path: Path,
    files: Mapping[str, str | bytes | None] | None = None,
    *,
    defaults: bool = True,
    name: str = NAME,
    track: str | Track = TRACK,
    change: Change | None = None,
    leaderboard: Leaderboard | None = None,
) -> Submission:
    """The made-up folder as the judge's reader sees it, below ``tmp_path/records/track_<name>/``."""
    known = track_named(track) if isinstance(track, str) else track
    folder = write(tmp_path / "records" / f"track_{known.name}" / name, files, defaults=defaults)
    path = folder.relative_to(tmp_path).as_posix()
    return read_submission(FolderTree(folder), known, path=path, change=change, leaderboard=leaderboard)


def with_program(program: str, **changed: Any) -> dict[str, str | bytes]:
    """The files of a folder whose program is ``program``, with logs and claim that fit it."""
    value = claim(program=program, **changed)
    return {
        "README.md": readme(value=value),
        "submission.json": json.dumps(value, indent=2) + "\n",
        "train_gpt.py": program,
        **{f"train_seed{seed}.log": log(seed, program=program) for seed in SEEDS},
    }
