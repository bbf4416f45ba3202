"""A made-up run of a small recipe: files as the stages write them, numbers that hang together."""

import hashlib
import json
import math
import random
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from fairway.quant.packing import QuantizedModel
from fairway.quant.pipeline import pack
from fairway.recipes.load import Resolved, digest, leaves, plain, write_resolved
from fairway.records.submission import Byline
from fairway.spec.data import DataSpec
from fairway.spec.model import Loops, ModelSpec, TwoLanes
from fairway.spec.optim import AdamSpec, MuonSpec, OptimSpec
from fairway.spec.quant import Grid, Hadamard, QuantSpec
from fairway.spec.recipe import Lineage, Recipe
from fairway.spec.roles import matrix_name, role_of
from fairway.spec.score import DocumentLora, Flat, PhasedSgd, ScoreSpec
from fairway.spec.train import LateReplay, TrainSpec
from fairway.verify.unpack import repacked

STEPS, LAYERS, CHUNK = 300, 6, 32
SOURCE = '''"""A stand-in for a bundle."""

import json
import sys

import numpy as np
import torch


def main(words: list[str]) -> None:
    """Print what it is given, and what that weighs."""
    print(json.dumps(words), torch.tensor(np.ones(len(words))).sum())


main(sys.argv[1:])
'''
PARTS = {"q": (128, 128), "k": (64, 128), "v": (64, 128), "o": (128, 128), "up": (384, 128), "down": (128, 384)}
BITS = {"embedding": 7, "control": 16}


def small_recipe(seeds: tuple[int, ...]) -> Recipe:
    return Recipe(
        name="pond",
        track="pocket",
        seeds=seeds,
        lineage=Lineage(
            parents=("pocket", "baseline"), because="wider clips keep the tails of the MLP", sources=("#1695",)
        ),
        data=DataSpec(vocab_size=512, val_docs=60),
        model=ModelSpec(
            vocab_size=512,
            layers=LAYERS,
            width=128,
            heads=4,
            kv_heads=2,
            mlp_width=384,
            xsa_last=2,
            loops=Loops(first=2, last=3),
            lanes=TwoLanes(start=4),
        ),
        optim=OptimSpec(muon=MuonSpec(), adam=AdamSpec()),
        train=TrainSpec(
            context=256,
            batch_tokens=8192,
            micro_batch_tokens=4096,
            budget_s=90.0,
            reserve_s=10.0,
            steps=STEPS,
            threads=2,
            replay=LateReplay(keep=8),
        ),
        quant=QuantSpec(
            attention=Grid(bits=6, clip_sigmas=12.85),
            mlp=Grid(bits=6, clip_sigmas=12.0),
            embedding=Grid(bits=7, clip_sigmas=15.0),
            rotation=Hadamard(),
        ),
        score=ScoreSpec(
            context=256,
            batch_tokens=4096,
            method=PhasedSgd(
                lora=DocumentLora(rank=8, alpha=8.0, chunk=CHUNK, batch_docs=16), prefix_docs=32, phases=2
            ),
            diagnostic=Flat(),
            budget_s=90.0,
        ),
    )


def write_lines(path: Path, entries: Iterable[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@dataclass
class World:
    """Where the files of a made-up run lie, and what was decided when they were made."""

    root: Path
    recipe: Recipe
    lengths: list[int]
    code: bytes
    source: str

    @property
    def recipe_json(self) -> Path:
        return self.results / "recipe.json"

    @property
    def results(self) -> Path:
        return self.root / "results" / "pond"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def records(self) -> Path:
        return self.root / "records" / "track_pocket"

    def seed_folder(self, seed: int) -> Path:
        return self.results / f"seed{seed}"

    def edit(self, path: Path, change: Callable[[dict[str, Any]], None], *, event: str | None = None) -> None:
        """Change the entries of a file of JSON lines in place, all or those of one event."""
        entries = read_lines(path)
        for entry in entries:
            if event is None or entry.get("event") == event:
                change(entry)
        write_lines(path, entries)


def make_world(root: Path, seeds: tuple[int, ...] = (1, 2, 3)) -> World:
    dice = random.Random(5)
    recipe = small_recipe(seeds)
    lengths = [min(1500, max(9, int(dice.lognormvariate(5.3, 0.8)))) for _ in range(recipe.data.val_docs)]
    world = World(root, recipe, lengths, repacked(SOURCE), SOURCE)
    changed = ("name", "lineage", "quant.mlp.clip_sigmas", "score.method.lora.rank")
    origin = {key: "pond" if key.startswith(changed) else "pocket" for key in leaves(plain(recipe))}
    changes = {
        "model.loops.extra": {"is": 2},
        "quant.mlp.clip_sigmas": {"was": 20.0, "is": 12.0},
        "score.method.lora.rank": {"was": 96, "is": 8},
        "score.stride": {"was": 64},
    }
    resolved = Resolved(recipe, origin, digest(recipe), changes=changes)
    world.results.mkdir(parents=True)
    write_resolved(resolved, world.recipe_json)
    (world.results / "train_gpt.py").write_bytes(world.code)
    (world.results / "train_gpt_source.py").write_text(world.source, encoding="utf-8")
    write_data(world)
    for seed in seeds:
        write_seed(world, seed, resolved.sha256)
    return world


def write_data(world: World) -> None:
    tokens = sum(world.lengths)
    rows = [f"val\t{i:064x}\t{length}\t{3 * length}\n" for i, length in enumerate(world.lengths)]
    rows += [f"train\t{i + 10_000:064x}\t300\t900\n" for i in range(40)]
    world.data.mkdir(parents=True)
    (world.data / "documents.tsv").write_text("".join(rows), encoding="utf-8")
    manifest = {
        "format": "fairway-dataset",
        "version": 1,
        "corpus": {"kind": "embedded", "title": "made-up prose"},
        "tokenizer": {"file": "tokenizer.model", "sha256": "0" * 64, "vocab_size": 512},
        "shards": [
            {
                "file": "val/fineweb_val_000000.bin",
                "split": "val",
                "tokens": tokens,
                "size_bytes": 1024 + 2 * tokens,
                "sha256": "1" * 64,
            },
        ],
        "documents": {
            "train": 40,
            "val": len(world.lengths),
            "train_text_bytes": 36_000,
            "val_text_bytes": 3 * tokens,
            "overlap": 0,
        },
        "val": {"tokens": tokens, "targets": tokens - 1, "bytes": 3 * (tokens - 1)},
    }
    (world.data / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def write_seed(world: World, seed: int, recipe_sha256: str) -> None:
    dice = random.Random(seed)
    folder = world.seed_folder(seed)
    folder.mkdir()
    artifact = packed(seed)
    (folder / "artifact.bin").write_bytes(artifact)
    artifact_sha256 = hashlib.sha256(artifact).hexdigest()

    def write(stage: str, seconds: float, *events: dict[str, Any]) -> None:
        head = [
            {
                "event": "code",
                "sha256": hashlib.sha256(world.code).hexdigest(),
                "size_bytes": len(world.code),
                "recipe_sha256": recipe_sha256,
                "seed": seed,
            },
            {
                "event": "environment",
                "python": "3.11.7",
                "torch": "2.13.0+cpu",
                "platform": "Linux-6.1-x86_64",
                "processor": "x86_64",
                "threads": 2,
                "world": 1,
                "device": "cpu",
            },
        ]
        everything = [*head, *events]
        entries = [
            {"stage": stage, "event": entry["event"], "t_s": round(seconds * (i + 1) / len(everything), 6), **entry}
            for i, entry in enumerate(everything)
        ]
        write_lines(folder / f"{stage}.events.jsonl", entries)

    train_s = 61.0 + dice.random()
    write("train", train_s + 9, *training(dice, train_s))
    write("calibrate", 4.0 + dice.random(), {"event": "done", "seconds": 4.0 + dice.random()})
    write("rotate_gptq", 7.5, *rounding(dice), {"event": "done", "seconds": 7.4})
    write(
        "compress",
        1.25,
        {
            "event": "done",
            "artifact_bytes": len(artifact),
            "artifact_sha256": artifact_sha256,
            "codec": "range",
            "forecast_bytes": 299_000,
            "seconds": 1.2,
        },
    )
    entries, nats, spelled = ledger(dice, world.lengths, artifact_sha256)
    write_lines(folder / "ledger.jsonl", entries)
    targets = sum(world.lengths) - 1

    def score(name: str, extra_nats: float, seconds: float) -> dict[str, Any]:
        loss = nats / targets + extra_nats
        return {
            "event": "score",
            "name": name,
            "method": "flat" if name != "final" else "phased",
            "val_loss": loss,
            "val_bpb": loss * targets / spelled / math.log(2),
            "tokens": targets,
            "bytes": spelled,
            "seconds": seconds,
            "compile_s": 0.5,
        }

    write("float", 9.0, score("float", 0.06, 7.5), {"event": "done", "seconds": 8.9})
    write(
        "evaluate",
        58.0,
        {"event": "load", "seconds": 1.5, "artifact_sha256": artifact_sha256},
        score("quantized", 0.075, 7.5),
        score("final", 0.0, 47.0 + dice.random()),
        {"event": "done", "seconds": 57.5},
    )


def training(dice: random.Random, train_s: float) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = [
        {
            "event": "start",
            "parameters": 912_345,
            "world": 1,
            "device": "cpu",
            "budget_s": 90.0,
            "reserve_s": 10.0,
            "steps": STEPS,
        }
    ]
    for step in range(5, STEPS + 1, 5):
        if step == 105:
            events.append({"event": "loops_on", "step": step, "fraction": 0.35, "train_s": train_s * step / STEPS})
        loss = 3.2 + 3.1 * math.exp(-step / 40) - 0.5 * max(0, step / STEPS - 0.25) + 0.04 * dice.gauss(0, 1)
        events.append(
            {
                "event": "step",
                "step": step,
                "steps": STEPS,
                "loss_nats": loss,
                "lr_scale": min(1.0, (1 - step / STEPS) / 0.75),
                "grad_norm": 1.0,
                "train_s": train_s * step / STEPS,
                "tokens": step * 8192,
                "step_avg_ms": 1000 * train_s / STEPS,
            }
        )
    return [
        *events,
        {"event": "stop", "step": STEPS, "reason": "steps", "train_s": train_s},
        {
            "event": "done",
            "train_s": train_s,
            "steps": STEPS,
            "tokens": STEPS * 8192,
            "reason": "steps",
            "peak_bytes": 10**9,
        },
    ]


def matrix_names() -> list[str]:
    return [matrix_name(layer, part) for layer in range(LAYERS) for part in PARTS]


def rounding(dice: random.Random) -> list[dict[str, Any]]:
    events = []
    for name in [*matrix_names(), "embedding"]:
        role = role_of(name)
        base = {"embedding": 4e-4, "mlp_down": 9e-4}.get(role, 5e-4) * math.exp(0.25 * dice.gauss(0, 1))
        events.append(
            {
                "event": "tensor",
                "name": name,
                "role": role,
                "bits": BITS.get(role, 6),
                "step_mean": 0.01,
                "error_nearest": base,
                "error_gptq": 0.45 * base * math.exp(0.1 * dice.gauss(0, 1)),
                "error_nearest_unrotated": 1.7 * base,
                "error_gptq_unrotated": 0.8 * base,
            }
        )
    return events


def packed(seed: int) -> bytes:
    """An artifact of random weights."""
    source = torch.Generator().manual_seed(seed)
    shapes = {name: PARTS[name.rpartition(".")[2]] for name in matrix_names()} | {"embedding": (512, 128)}
    symbols, steps = {}, {}
    for name, shape in shapes.items():
        largest = 2 ** (BITS.get(role_of(name), 6) - 1) - 1
        values = torch.randn(shape, generator=source) * 0.045 * largest
        symbols[name] = values.round().clamp(-largest, largest).to(torch.int8)
        steps[name] = (0.01 + 0.01 * torch.rand(shape[0], generator=source)).half()
    counts = {"attn_scale": (6, 128), "mlp_scale": (6, 128), "resid_mix": (6, 2, 128), "q_gain": (6, 4)}
    kept = {name: torch.randn(shape, generator=source).half() for name, shape in counts.items()}
    return pack(QuantizedModel(symbols, steps, kept), small_recipe((seed,)).quant, {"seed": seed})


def ledger(dice: random.Random, lengths: list[int], artifact_sha256: str) -> tuple[list[dict[str, Any]], float, int]:
    """Documents in batches of 16, chunk by chunk; two passes over what was scored after a quarter and a half."""
    entries: list[dict[str, Any]] = [
        {"kind": "open", "artifact_sha256": artifact_sha256, "documents": len(lengths), "targets": sum(lengths) - 1}
    ]
    starts, position = [], 0
    for length in lengths:
        starts.append(position)
        position += length
    stops = [start + length + 1 for start, length in zip(starts, lengths, strict=True)]
    stops[-1] -= 1
    hardness = [0.25 * dice.gauss(0, 1) for _ in lengths]
    nats, spelled = 0.0, 0
    for first in range(0, len(lengths), 16):
        batch = range(first, min(first + 16, len(lengths)))
        for chunk in range(0, max(lengths[i] for i in batch) + 1, CHUNK):
            spans = []
            for i in batch:
                start, stop = starts[i] + 1 + chunk, min(starts[i] + 1 + chunk + CHUNK, stops[i])
                if start < stop:
                    loss = (
                        3.0 + hardness[i] + 0.9 * math.exp(-chunk / 120) - 0.1 * (first > 16) + 0.2 * dice.gauss(0, 1)
                    )
                    spans.append([starts[i], start, stop, loss * (stop - start), 3 * (stop - start)])
            nats += sum(span[3] for span in spans)
            spelled += sum(span[4] for span in spans)
            entries.append({"kind": "score", "spans": spans, "losses_sha256": "2" * 64})
            entries.append(
                {"kind": "learn", "what": "lora", "spans": [[start, stop] for _, start, stop, _, _ in spans]}
            )
        if first in (0, 16):
            entries.append({"kind": "learn", "what": "sgd", "spans": [[1, stops[first + 15]]]})
    entries.append({"kind": "close", "targets": sum(lengths) - 1, "bytes": spelled, "nats": nats})
    return [{"i": i, "prev": "0" * 64, **entry} for i, entry in enumerate(entries)], nats, spelled


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A run of three seeds, made once; nobody changes it."""
    return make_world(tmp_path_factory.mktemp("template"))


@pytest.fixture
def world(template: World, tmp_path: Path) -> World:
    """A run of three seeds, complete and without contradiction."""
    root = tmp_path / "world"
    shutil.copytree(template.root, root)
    return World(root, template.recipe, template.lengths, template.code, template.source)


@pytest.fixture
def one_seed_world(tmp_path: Path) -> World:
    """A run of one seed."""
    return make_world(tmp_path / "one", seeds=(7,))


@pytest.fixture
def pocket_track() -> dict[str, Any]:
    """A track as its file has it, small."""
    return {
        "name": "pocket",
        "title": "made up",
        "size": {"cap_bytes": 500_000, "source": "a size"},
        "train": {
            "limits": [
                {
                    "profile": "strict",
                    "counts": ["loop", "replay", "calibrate"],
                    "limit_s": 90.0,
                    "above": "FAIL",
                    "source": "a",
                },
                {"profile": "precedent", "counts": ["loop", "replay"], "limit_s": 90.5, "above": "FAIL", "source": "b"},
            ]
        },
        "eval": {
            "limits": [
                {
                    "profile": "strict",
                    "counts": ["score", "load", "compile"],
                    "limit_s": 80.0,
                    "above": "FAIL",
                    "source": "c",
                },
                {"profile": "precedent", "counts": ["score"], "limit_s": 80.0, "above": "REVIEW", "source": "d"},
            ]
        },
        "seeds": {"least": 3, "source": "three runs"},
    }


@pytest.fixture
def byline() -> Byline:
    """Somebody's record."""
    return Byline(author="A. Author", github_id="a-author", name="Pond", blurb="A made-up record | with a bar.")
