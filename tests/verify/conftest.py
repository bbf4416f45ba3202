"""A made-up record: three seeds of a toy run whose numbers hang together, with handles to break one thing at a time.

Nothing of the package that is judged is used here either: the bytes come from this file alone.
"""

import base64
import hashlib
import json
import lzma
import math
import random
import statistics
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fairway.verify.finding import Finding, Verdict
from fairway.verify.run import judge, verify_seed
from fairway.verify.tracks import (
    GainTest,
    SeedsNeeded,
    SizeLimit,
    TimeBudget,
    TimeLimit,
    Track,
)

STAGES = ("train", "calibrate", "rotate_gptq", "compress", "float", "evaluate")
PROBES = (
    *("a-a", "future-flip", "self-flip", "truncation", "document-boundary"),
    *("sum-to-one", "uniform-stream", "order", "zero-rate"),
)
FOLDER = "2026-01-02_made_up"
SEEDS = (7, 8, 9)
CHUNK = 3
VOCAB = 300
VAL_DOCUMENTS = ((6, 13), (4, 7), (8, 21))
"""Tokens with BOS, and bytes of text."""
TRAIN_DOCUMENTS = ((9, 30), (5, 12), (3, 4), (7, 16))
TARGETS = sum(tokens for tokens, _ in VAL_DOCUMENTS) - 1


SOURCE = '''"""A program that scores nothing."""

import sys


def main(words: list[str]) -> int:
    """Count words, twice over."""
    total: int = 0
    for word in words:
        total += len(word)
    return total


if __name__ == "__main__":
    print(main(sys.argv[1:]))
'''
MINIFIED = """import sys
def a(b):
\tc=0
\tfor d in b:c+=len(d)
\treturn c
if __name__=='__main__':print(a(sys.argv[1:]))"""


def self_extracting(program: str) -> bytes:
    """A stub as the bundler may write it: raw LZMA2 in base85."""
    packed = lzma.compress(program.encode(), lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2, "preset": 9}])
    stub = "import lzma,base64\nexec(lzma.decompress(base64.b85decode({!r}),3,None,[dict(id=33)]))\n"
    return stub.format(base64.b85encode(packed).decode()).encode()


def canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def sha256(data: bytes | str) -> str:
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


def toy_track() -> Track:
    def limits(*parts: str) -> tuple[TimeLimit, ...]:
        return (
            TimeLimit(profile="strict", counts=parts, limit_s=60.0, above="FAIL", source="toy rule 2"),
            TimeLimit(profile="precedent", counts=parts[:1], limit_s=61.0, above="FAIL", source="toy practice"),
            TimeLimit(profile="precedent", counts=parts, limit_s=61.0, above="REVIEW", source="toy practice"),
        )

    return Track(
        name="toy",
        title="a toy",
        rules_version=3,
        size=SizeLimit(cap_bytes=3000, review_from_bytes=2900, source="toy rule 1"),
        train=TimeBudget(budget_s=60.0, source="toy rule 2", limits=limits("loop", "replay", "calibrate")),
        eval=TimeBudget(budget_s=60.0, source="toy rule 3", limits=limits("score", "load", "compile")),
        seeds=SeedsNeeded(least=3, source="toy rule 4"),
        claim="implied",
        gain_tests=(
            GainTest(profile="strict", unit="nats_per_token", margin=0.005, p_max=0.01, source="toy rule 5"),
            GainTest(profile="precedent", unit="bits_per_byte", margin=0.0, p_max=0.25, source="toy practice"),
        ),
    )


def artifact_bytes(seed: int, recipe_sha256: str, payload_bytes: int = 200) -> bytes:
    payload = random.Random(seed).randbytes(payload_bytes)
    header = canonical(
        {
            "extra": {"recipe_sha256": recipe_sha256, "seed": seed},
            "rotation": None,
            "streams": [{"name": "query", "codec": "range", "size": len(payload), "raw_size": 400}],
            "tensors": [{"name": "blocks.0.q", "shape": [20, 20], "role": "query", "bits": 6, "stream": "query"}],
        }
    ).encode()
    stored = zlib.compress(header)
    body = struct.pack("<8sHII", b"FAIRWAY\0", 1, len(stored), len(header)) + stored + payload
    return body + hashlib.sha256(body).digest()


def chained(entries: list[dict[str, Any]]) -> str:
    """Ledger entries without ``i``, ``prev`` and ``hash`` to the file's text."""
    prev, lines = "0" * 64, []
    for i, fields in enumerate(entries):
        entry = {"i": i, "prev": prev, **fields}
        prev = sha256(canonical(entry))
        lines.append(canonical({**entry, "hash": prev}) + "\n")
    return "".join(lines)


def plan_sha256(entries: list[dict[str, Any]]) -> str:
    lines = []
    for entry in entries:
        if entry["kind"] == "score":
            lines.append(canonical({"kind": "score", "spans": [span[:3] for span in entry["spans"]]}) + "\n")
        elif entry["kind"] == "learn":
            lines.append(canonical({"kind": "learn", "spans": entry["spans"], "what": entry["what"]}) + "\n")
    return sha256("".join(lines))


def target_bytes(seed: int) -> list[int]:
    """Bytes of each stream position as a target: a document's text after its BOS, nothing on the BOS."""
    counts = []
    for tokens, text_bytes in VAL_DOCUMENTS:
        share, rest = divmod(text_bytes, tokens - 1)
        counts += [0, *(share + (1 if i < rest else 0) for i in range(tokens - 1))]
    return counts


def score_entries(seed: int) -> list[dict[str, Any]]:
    """Each document in chunks, an update after each chunk but the last, longest document first."""
    draw, counts = random.Random(1000 + seed), target_bytes(seed)
    bounds, begin = [], 0
    for tokens, _ in VAL_DOCUMENTS:
        bounds.append((begin, min(begin + tokens, TARGETS)))
        begin += tokens
    entries: list[dict[str, Any]] = []
    for first, last in sorted(bounds, key=lambda bound: bound[0] - bound[1]):
        for start in range(first + 1, last + 1, CHUNK):
            stop = min(start + CHUNK, last + 1)
            nats = sum(draw.uniform(1.0, 3.0) for _ in range(start, stop))
            span = [first, start, stop, nats, sum(counts[start:stop])]
            entries.append({"kind": "score", "spans": [span], "losses_sha256": sha256(f"{seed} {start}")})
            if stop <= last:
                entries.append({"kind": "learn", "what": "lora", "spans": [[start, stop]]})
    return entries


class Toy:
    """A record in the making. Change its parts, then ``write``; or change written files and ``sign`` again."""

    def __init__(self, parent: Path, seeds: tuple[int, ...] = SEEDS) -> None:
        self.folder = parent / "records" / "track_toy" / FOLDER
        self.leaderboard = parent / "records" / "leaderboard.jsonl"
        self.track = toy_track()
        self.seeds = seeds
        self.source = SOURCE
        self.minified = MINIFIED
        self.code = self_extracting(MINIFIED)
        self.recipe: dict[str, Any] = {
            "name": "toy",
            "track": "toy",
            "seeds": list(seeds),
            "model": {"vocab_size": VOCAB},
            "train": {"budget_s": 60.0, "reserve_s": 10.0, "steps": 40},
            "score": {"method": {"kind": "lora", "rank": 4, "chunk": CHUNK}},
        }
        self.documents = [
            *(("train", sha256(f"train {i}"), *sizes) for i, sizes in enumerate(TRAIN_DOCUMENTS)),
            *(("val", sha256(f"val {i}"), *sizes) for i, sizes in enumerate(VAL_DOCUMENTS)),
        ]
        self.payload_bytes = dict.fromkeys(seeds, 200)
        self.ledgers = {seed: score_entries(seed) for seed in seeds}
        self.edit_events: list[Callable[[int, list[dict[str, Any]]], None]] = []
        self.edit_open: list[Callable[[int, dict[str, Any]], None]] = []
        self.edit_environment: list[Callable[[dict[str, Any]], None]] = []
        self.edit_probe: list[Callable[[int, dict[str, Any]], None]] = []

    @property
    def recipe_sha256(self) -> str:
        return sha256(canonical(self.recipe))

    def artifact(self, seed: int) -> bytes:
        return artifact_bytes(seed, self.recipe_sha256, self.payload_bytes[seed])

    def sums(self, seed: int) -> tuple[int, int, float]:
        spans = [span for entry in self.ledgers[seed] if entry["kind"] == "score" for span in entry["spans"]]
        return (
            sum(span[2] - span[1] for span in spans),
            sum(span[4] for span in spans),
            math.fsum(span[3] for span in spans),
        )

    def ledger(self, seed: int) -> list[dict[str, Any]]:
        targets, size_bytes, nats = self.sums(seed)
        opening = {
            "kind": "open",
            "artifact_sha256": sha256(self.artifact(seed)),
            "tokens_sha256": self.tokens_sha256,
            "documents": len(VAL_DOCUMENTS),
            "targets": TARGETS,
            "method": {**self.recipe["score"]["method"], "seed": seed},
            "plan_sha256": plan_sha256(self.ledgers[seed]),
        }
        for edit in self.edit_open:
            edit(seed, opening)
        closing = {"kind": "close", "targets": targets, "bytes": size_bytes, "nats": nats}
        return [opening, *self.ledgers[seed], closing]

    @property
    def val_tokens(self) -> bytes:
        return struct.pack(f"<{TARGETS + 1}H", *range(TARGETS + 1))

    @property
    def tokens_sha256(self) -> str:
        return sha256(self.val_tokens)

    def scores(self, seed: int) -> dict[str, dict[str, Any]]:
        targets, size_bytes, nats = self.sums(seed)
        found = {}
        for name, worse, seconds in (("float", 1.2, 2.0), ("quantized", 1.3, 3.0), ("final", 1.0, 20.0)):
            found[name] = {
                "name": name,
                "method": "lora" if name == "final" else "flat",
                "val_loss": nats * worse / targets,
                "val_bpb": nats * worse / math.log(2.0) / size_bytes,
                "tokens": targets,
                "bytes": size_bytes,
                "seconds": seconds + seed / 1000,
                "compile_s": 0.5,
            }
        return found

    def events(self, seed: int) -> list[dict[str, Any]]:
        artifact, scores = self.artifact(seed), self.scores(seed)
        draw = random.Random(2000 + seed)
        body: dict[str, list[tuple[float, str, dict[str, Any]]]] = {
            "train": [
                (
                    1.0,
                    "start",
                    {"parameters": 999, "world": 1, "device": "cpu", **self.recipe["train"], "batch_tokens": 64},
                ),
                (2.0, "warmup", {"steps": 2, "seconds": 1.0}),
                *(
                    (
                        2.0 + step,
                        "step",
                        {
                            "step": step,
                            "steps": 40,
                            "loss_nats": 5.0 / (1 + step) + draw.random(),
                            "lr_scale": 1.0,
                            "grad_norm": 0.5,
                            "train_s": step * 0.9,
                            "tokens": step * 64,
                            "step_avg_ms": 900.0,
                        },
                    )
                    for step in (10, 20, 30, 40)
                ),
                (42.0, "stop", {"step": 40, "reason": "steps", "train_s": 40.0}),
                (45.0, "replay", {"batches": 4, "epochs": 2, "seconds": 3.0}),
                (46.0, "done", {"train_s": 43.25 + seed / 1000, "steps": 40, "tokens": 2560, "reason": "steps"}),
            ],
            "calibrate": [(5.0, "done", {"seconds": 5.125})],
            "rotate_gptq": [(6.0, "done", {"seconds": 6.0})],
            "compress": [
                (
                    1.0,
                    "done",
                    {
                        "artifact_bytes": len(artifact),
                        "artifact_sha256": sha256(artifact),
                        "forecast_bytes": 500,
                        "seconds": 1.0,
                    },
                )
            ],
            "float": [(3.0, "score", scores["float"]), (3.5, "done", {"seconds": 3.5})],
            "evaluate": [
                (1.0, "load", {"seconds": 1.0, "artifact_sha256": sha256(artifact)}),
                (4.0, "score", scores["quantized"]),
                (25.0, "score", scores["final"]),
                (25.5, "done", {"seconds": 25.5}),
            ],
        }
        events: list[dict[str, Any]] = []
        for stage in STAGES:
            code = {
                "sha256": sha256(self.code),
                "size_bytes": len(self.code),
                "recipe_sha256": self.recipe_sha256,
                "seed": seed,
            }
            environment = {
                "python": "3.12.1",
                "torch": "2.13.0",
                "platform": "Linux",
                "threads": 2,
                "world": 1,
                "device": "cpu",
            }
            for t_s, name, fields in [(0.0, "code", code), (0.0, "environment", environment), *body[stage]]:
                events.append({"stage": stage, "event": name, "t_s": t_s, **fields})
        for edit in self.edit_events:
            edit(seed, events)
        return events

    def manifest(self) -> dict[str, Any]:
        sizes = {split: [row for row in self.documents if row[0] == split] for split in ("train", "val")}
        overlap = {row[1] for row in sizes["train"]} & {row[1] for row in sizes["val"]}
        tokens = sum(row[2] for row in sizes["val"])
        return {
            "format": "fairway-dataset",
            "version": 1,
            "corpus": {"kind": "embedded"},
            "tokenizer": {"file": "tokenizer.model", "sha256": sha256("tokenizer"), "vocab_size": VOCAB},
            "shards": [
                {
                    "file": f"{split}/fineweb_{split}_000000.bin",
                    "split": split,
                    "tokens": sum(row[2] for row in sizes[split]),
                    "size_bytes": 1024 + 2 * sum(row[2] for row in sizes[split]),
                    "sha256": sha256(split),
                }
                for split in ("train", "val")
            ],
            "documents": {
                "file": "documents.tsv",
                "sha256": sha256(self.table()),
                "train": len(sizes["train"]),
                "val": len(sizes["val"]),
                "train_text_bytes": sum(row[3] for row in sizes["train"]),
                "val_text_bytes": sum(row[3] for row in sizes["val"]),
                "overlap": len(overlap),
            },
            "val": {"tokens": tokens, "targets": tokens - 1, "bytes": sum(row[3] for row in sizes["val"])},
        }

    def environment(self) -> dict[str, Any]:
        """What a watcher saw: every stage a little longer than its own log says, evaluations enclosed."""
        machine = {
            "image": "none",
            "locks": {"requirements/base.txt": sha256("lock")},
            "python": "3.12.1",
            "packages": {"torch": {"version": "2.13.0+cpu", "files_sha256": sha256("torch")}},
            "gpu": {"cards": []},
            "cpu": {"model": "made up", "cores": 2},
            "system": {"kernel": "6.1"},
            "variables": {},
            "git": {"revision": "0" * 40, "dirty": False},
        }
        stages = []
        for seed in self.seeds:
            inside = {event["stage"]: event["t_s"] for event in self.events(seed) if event["event"] == "done"}
            for stage in STAGES:
                walls = {"state": "enforced", "mechanism": "bubblewrap 0.8.0", "limits": {}, "network": "none"}
                shown = {"calibrate": "data/toy/train", "evaluate": "data/toy/val"}
                open_air = {"state": "not asked for", "mechanism": None, "limits": {}}
                stages.append(
                    {
                        "seed": seed,
                        "stage": stage,
                        "environment": 0,
                        "seconds": inside.get(stage, 0.0) + 4.0,
                        "exit_status": 0,
                        "ended_by": "itself",
                        "isolation": {**walls, "reads": [shown[stage]]} if stage in shown else open_air,
                    }
                )
        record = {"format": 1, "environments": [machine], "stages": stages}
        for edit in self.edit_environment:
            edit(record)
        return record

    def probe(self, seed: int) -> dict[str, Any]:
        """What trials on the first two documents showed: no fault, and two of their losses as bits."""
        limits = {name: (0.0, 0.0, "nats") for name in PROBES}
        limits |= {"sum-to-one": (2e-7, 1e-4, "nats"), "order": (0, 0, "faults")}
        limits |= {"uniform-stream": (6.1, math.log(VOCAB - 1) - 0.4, "nats")}
        record = {
            "format": "fairway-probe/1",
            "recipe_sha256": self.recipe_sha256,
            "code_sha256": sha256(self.code),
            "artifact_sha256": sha256(self.artifact(seed)),
            "seed": seed,
            "method": {**self.recipe["score"]["method"], "seed": seed},
            "stream": {
                "source": "validation",
                "tokens_sha256": sha256("two documents"),
                "documents": 2,
                "targets": sum(tokens for tokens, _ in VAL_DOCUMENTS[:2]) - 1,
            },
            "device": "cpu",
            "noise_floor": 0.0,
            "seconds": 1.5,
            "probes": [
                {
                    "name": name,
                    "verdict": "passed",
                    "measured": measured,
                    "limit": limit,
                    "unit": unit,
                    "samples": 12,
                    "because": "nothing moved",
                }
                for name, (measured, limit, unit) in limits.items()
            ],
            "decode": {
                "verdict": "passed",
                "documents": 2,
                "targets": 9,
                "stream_bits": 96,
                "ledger_bits": 80.5,
                "limit_bits": 80.5 * 1.001 + 64,
                "identical": True,
                "because": "what came out is what went in",
            },
        }
        for edit in self.edit_probe:
            edit(seed, record)
        return record

    def table(self) -> str:
        return "".join("\t".join(str(cell) for cell in row) + "\n" for row in self.documents)

    def submission(self) -> dict[str, Any]:
        final = {seed: self.scores(seed) for seed in self.seeds}
        sizes = {seed: len(self.artifact(seed)) for seed in self.seeds}

        def over(name: str, what: str) -> list[float]:
            return [final[seed][name][what] for seed in self.seeds]

        def spread(values: list[float]) -> float | None:
            return round(statistics.stdev(values), 8) if len(values) > 1 else None

        return {
            "author": "A. Nobody",
            "github_id": "nobody",
            "name": "Made up",
            "blurb": "Nothing of this ever ran.",
            "date": FOLDER[:10],
            "track": "toy",
            "val_bpb": round(statistics.fmean(over("final", "val_bpb")), 8),
            "val_bpb_std": spread(over("final", "val_bpb")),
            "val_loss": round(statistics.fmean(over("final", "val_loss")), 8),
            "val_loss_std": spread(over("final", "val_loss")),
            "pre_quant_val_bpb": round(statistics.fmean(over("float", "val_bpb")), 8),
            "quantized_val_bpb": round(statistics.fmean(over("quantized", "val_bpb")), 8),
            "bytes_total": len(self.code) + max(sizes.values()),
            "bytes_code": len(self.code),
            "bytes_model": max(sizes.values()),
            "seeds": list(self.seeds),
            "seed_results": {
                str(seed): {
                    "val_bpb": round(final[seed]["final"]["val_bpb"], 8),
                    "val_loss": round(final[seed]["final"]["val_loss"], 8),
                    "bytes_total": len(self.code) + sizes[seed],
                    "steps": 40,
                    "train_time_s": round(43.25 + seed / 1000, 3),
                    "eval_time_s": round(final[seed]["final"]["seconds"], 3),
                }
                for seed in self.seeds
            },
            "hardware": "1 x CPU with 2 threads (Linux)",
            "pytorch_version": "2.13.0",
            "recipe_sha256": self.recipe_sha256,
            "predecessor": None,
        }

    def readme(self) -> str:
        claim = self.submission()
        rows = [
            f"| {seed} | {claim['seed_results'][str(seed)]['val_bpb']:.5f} | {len(self.artifact(seed)):,} | 43.3 |"
            for seed in self.seeds
        ]
        times = [43.25 + seed / 1000 for seed in self.seeds]
        mean_bytes = statistics.fmean(len(self.artifact(seed)) for seed in self.seeds)
        rows.append(
            f"| **mean** | **{claim['val_bpb']:.5f}** | **{mean_bytes:,.0f}** | **{statistics.fmean(times):.1f}** |"
        )
        head = ["| seed | bpb, final | artifact bytes | training |", "| --- | --: | --: | --: |"]
        return "\n".join([f"**{claim['val_bpb']:.5f} bits per byte**", "", *head, *rows, "", "Made up.", ""])

    def log(self, seed: int) -> str:
        final = self.scores(seed)["final"]
        return (
            f"seed:{seed}\nTotal submission size range: {len(self.code) + len(self.artifact(seed))} bytes\n"
            f"final_lora val_loss:{final['val_loss']:.8f} val_bpb:{final['val_bpb']:.8f} eval_time:20000ms\n"
        )

    def write(self) -> "Toy":
        self.put("README.md", self.readme())
        self.put("submission.json", json.dumps(self.submission(), indent=2) + "\n")
        self.put("requirements.txt", "torch==2.13.0\n")
        self.put("environment.json", json.dumps(self.environment()))
        self.put("recipe.json", json.dumps({"recipe": self.recipe, "origin": {}, "sha256": self.recipe_sha256}))
        self.put("data_manifest.json", json.dumps(self.manifest()))
        self.put("documents.tsv", self.table())
        self.put("train_gpt.py", self.code)
        self.put("train_gpt_source.py", self.source)
        self.put("figures/loss.png", b"\x89PNG made up")
        for seed in self.seeds:
            self.put(f"train_seed{seed}.log", self.log(seed))
            self.put(f"seed{seed}/artifact.bin", self.artifact(seed))
            self.put(f"seed{seed}/ledger.jsonl", chained(self.ledger(seed)))
            self.put(f"seed{seed}/probe.json", json.dumps(self.probe(seed)))
            self.put(f"seed{seed}/events.jsonl", "".join(json.dumps(event) + "\n" for event in self.events(seed)))
        if not self.leaderboard.exists():
            self.leaderboard.write_text("")
        return self.sign()

    def put(self, name: str, content: bytes | str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    def read(self, name: str) -> str:
        return (self.folder / name).read_text()

    def files(self) -> list[str]:
        return sorted(path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file())

    def sign(self) -> "Toy":
        lines = [
            f"{sha256((self.folder / name).read_bytes())}  {name}\n"
            for name in self.files()
            if name not in ("SHA256SUMS", "verdict.json")
        ]
        self.put("SHA256SUMS", "".join(lines))
        return self

    def judge(self) -> Verdict:
        return judge(self.folder, self.track)

    def write_run(self, seed: int) -> tuple[Path, Path, Path]:
        """The run folder of one seed, its recipe and its data, as the pipeline leaves them."""
        results, data = self.folder.parent.parent.parent / "results", self.folder.parent.parent.parent / "data"
        run = results / f"seed{seed}"
        run.mkdir(parents=True)
        (run / "artifact.bin").write_bytes(self.artifact(seed))
        (run / "ledger.jsonl").write_text(chained(self.ledger(seed)))
        for stage in STAGES:
            lines = [json.dumps(event) + "\n" for event in self.events(seed) if event["stage"] == stage]
            (run / f"{stage}.events.jsonl").write_text("".join(lines))
        (results / "train_gpt.py").write_bytes(self.code)
        recipe = results / "recipe.json"
        recipe.write_text(json.dumps({"recipe": self.recipe, "origin": {}, "sha256": self.recipe_sha256}))
        (data / "val").mkdir(parents=True)
        (data / "manifest.json").write_text(json.dumps(self.manifest()))
        (data / "documents.tsv").write_text(self.table())
        (data / "val" / "fineweb_val_000000.bin").write_bytes(bytes(1024) + self.val_tokens)
        return run, recipe, data

    def judge_run(self, seed: int) -> Verdict:
        run, recipe, data = self.write_run(seed)
        return verify_seed(run, self.track, recipe=recipe, data=data, code=recipe.with_name("train_gpt.py"))


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    """A record that every rule holds for, not yet written."""
    return Toy(tmp_path)


@pytest.fixture
def make_toy() -> type[Toy]:
    """For tests that need more than one, or other seeds."""
    return Toy


@pytest.fixture
def rechain() -> Callable[[list[dict[str, Any]]], str]:
    """Ledger entries to a file whose hashes are right again."""
    return chained


@pytest.fixture
def pack() -> Callable[[str], bytes]:
    """A program to a file that unpacks itself."""
    return self_extracting


@pytest.fixture
def said() -> Callable[..., list[Finding]]:
    """Findings of one rule, of one verdict if given."""

    def select(verdict: Verdict, rule: str, name: str | None = None) -> list[Finding]:
        return [f for f in verdict.findings if f.rule == rule and name in (None, f.verdict)]

    return select


@pytest.fixture
def failing() -> Callable[[Verdict], set[str]]:
    """Ids of the rules that fail."""

    def select(verdict: Verdict) -> set[str]:
        return {finding.rule for finding in verdict.findings if finding.verdict == "FAIL"}

    return select
