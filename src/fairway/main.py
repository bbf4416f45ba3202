"""A run from top to bottom: each stage of the pipeline as one function over files.

The workflow calls the stages one by one, the single file runs them in one process; both are this code. A stage
reads what the stages before it wrote, writes its own files under temporary names and renames them, and keeps
an event log whose first line names the code that runs.
"""

import json
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from fairway.data.batches import ContiguousBatches, PackedBatches
from fairway.data.byte_counts import ByteTable, sidecar_targets
from fairway.data.curriculum import short_documents_first
from fairway.data.shards import load_tokens, split_files
from fairway.data.windows import ShuffledBatches, StridedBatches
from fairway.errors import DataError
from fairway.kernels.backend import choose_attention
from fairway.model.ahead import add_ahead_map, drop_ahead_map
from fairway.model.banks import bank
from fairway.model.gpt import Gpt
from fairway.model.init import initialise
from fairway.model.members import split_raw, with_raw
from fairway.model.weights import bake_symmetry
from fairway.quant.batches import round_in_batches
from fairway.quant.hessian import collect
from fairway.quant.members import joined
from fairway.quant.own_text import own_text
from fairway.quant.packing import QuantizedModel
from fairway.quant.pipeline import pack, rotate_gptq, unpack
from fairway.quant.pruning import pruned_to_fit
from fairway.quant.rates import rounded_to_fit
from fairway.quant.rotation import online_model
from fairway.quant.sensitivity import row_sensitivities, sensitivities
from fairway.runtime.events import EventLog
from fairway.runtime.files import sha256_file, write_bytes_atomic, write_text_atomic
from fairway.runtime.ranks import Ranks, open_ranks
from fairway.runtime.seeding import set_threads
from fairway.runtime.tensors import load_tensors, save_tensors
from fairway.score.evaluate import Score, evaluate
from fairway.spec.mechanisms import Mtp, SymLayers, SymMix
from fairway.spec.model import Loops
from fairway.spec.quant import GradientBits, Lagrangian, OwnText, PrunedOnes
from fairway.spec.recipe import Recipe
from fairway.train.checkpoint import load_model, model_of, save_model
from fairway.train.loop import TrainResult, train


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One seed of one recipe, and the code that carries it out."""

    recipe: Recipe
    recipe_sha256: str
    forecast_bytes: int
    """Size of the artifact as the recipe lets it be expected."""
    seed: int
    code_sha256: str
    code_bytes: int
    echo: Callable[[str], None] | None = None
    """Takes each line that people read."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What every stage has at hand: its processes, its log, its clock."""

    ranks: Ranks
    log: EventLog
    opened_s: float

    @property
    def seconds(self) -> float:
        """Wall-clock seconds since the stage began."""
        return time.perf_counter() - self.opened_s


@contextmanager
def open_stage(run: Run, name: str, events: Path, *, alone: bool = False) -> Iterator[Stage]:
    """Connect the ranks, open the log, and say which code runs where; the log is renamed if the stage succeeds.

    Stages that have no use for other ranks run ``alone``, on the first one. Ranks stay connected for the next stage;
    whoever ran the last one calls ``close_ranks``.
    """
    opened_s = time.perf_counter()
    if run.seed < 0:
        raise DataError(f"seed must be 0 or more, got {run.seed}")
    threads = set_threads(run.recipe.train.threads)
    ranks = open_ranks(alone=alone)
    with EventLog(events if ranks.is_first else None, stage=name, echo=run.echo if ranks.is_first else None) as log:
        log.emit(
            "code",
            sha256=run.code_sha256,
            size_bytes=run.code_bytes,
            recipe_sha256=run.recipe_sha256,
            seed=run.seed,
        )
        log.emit(
            "environment",
            python=platform.python_version(),
            torch=torch.__version__,
            platform=f"{platform.system()} {platform.machine()}, {_processor()}",
            threads=threads,
            world=ranks.world,
            device=_device_name(ranks.device),
        )
        yield Stage(ranks, log, opened_s)


def _processor() -> str:
    """Model name of the CPU; equal bits are only promised on equal ones."""
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text(encoding="utf-8").splitlines() if listing.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "processor unknown"


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def compute_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 on a GPU, float32 on a CPU, where it is no slower and sums are reproducible."""
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def settle_attention(model: Gpt, stage: Stage) -> None:
    """Choose what computes the model's attention on this stage's device, once, and log what it is and why.

    Ranks choose alike where their machines are alike. ``RecipeError`` where the recipe names what cannot run.
    """
    spec = model.spec
    chosen, passed_over = choose_attention(spec.attention, stage.ranks.device, model.dtype, spec.head_width)
    model.attention = chosen
    stage.log.emit(
        "attention",
        backend=chosen.name,
        origin=chosen.origin,
        wanted=spec.attention,
        dtype=str(model.dtype).removeprefix("torch."),
        passed_over=passed_over,
    )


def training_batches(
    recipe: Recipe, train_folder: Path, ranks: Ranks
) -> PackedBatches | ContiguousBatches | ShuffledBatches | StridedBatches:
    """The recipe's loader over the training shards, from their beginning."""
    spec = recipe.train
    if spec.batching == "strided":
        return StridedBatches(
            split_files(train_folder, "train"),
            tokens=spec.micro_batch_tokens,
            context=spec.context,
            rank=ranks.rank,
            world=ranks.world,
            step_tokens=spec.batch_tokens,
        )
    kind = (
        PackedBatches
        if spec.batching == "packed"
        else ContiguousBatches
        if spec.batching == "contiguous"
        else ShuffledBatches
    )
    return kind(
        short_documents_first(split_files(train_folder, "train"))
        if spec.short_documents_first
        else split_files(train_folder, "train"),
        tokens=spec.micro_batch_tokens,
        context=spec.context,
        rank=ranks.rank,
        world=ranks.world,
    )


def train_stage(run: Run, train_folder: Path, *, checkpoint: Path, events: Path) -> TrainResult:
    """Training shards to averaged weights (safetensors, bank names)."""
    with open_stage(run, "train", events) as stage:
        spec = run.recipe.model
        model = Gpt(spec, dtype=compute_dtype(stage.ranks.device))
        initialise(model, run.seed)
        if isinstance(spec.mtp, Mtp):
            add_ahead_map(model, spec)
        model.to(stage.ranks.device)
        if spec.attention != "sdpa":
            settle_attention(model, stage)
        raw: dict[str, Tensor] = {}
        result = train(
            model,
            run.recipe.train,
            run.recipe.optim,
            training_batches(run.recipe, train_folder, stage.ranks),
            stage.ranks,
            stage.log,
            loops=spec.loops,
            raw=raw if run.recipe.score.logit_ensemble else None,
        )
        if isinstance(spec.mtp, Mtp):
            drop_ahead_map(model)
        if isinstance(spec.symmetry, SymMix | SymLayers):
            bake_symmetry(dict(model.named_parameters()), spec)
        if stage.ranks.is_first:
            metadata = {"seed": str(run.seed), "steps": str(result.steps)}
            if run.recipe.score.logit_ensemble:
                average = dict(model.named_parameters())
                save_model(checkpoint, with_raw(average, {name: raw[name] for name in average}), metadata)
            else:
                save_model(checkpoint, model, metadata)
        return result


def calibrate_stage(run: Run, train_folder: Path, *, checkpoint: Path, hessians: Path, events: Path) -> None:
    """Weights and training shards, or weights alone, to one Hessian a linear's input (safetensors, matrix names)."""
    with open_stage(run, "calibrate", events) as stage:
        stage.ranks.barrier()  # in a whole run, the first rank has written the checkpoint just now
        if run.recipe.score.logit_ensemble:
            model, raw = restore_checkpoint_pair(run, checkpoint, stage.ranks.device)
        else:
            model = restore_checkpoint(run, checkpoint, stage.ranks.device)
        if run.recipe.model.attention != "sdpa":
            settle_attention(model, stage)
        looped = isinstance(run.recipe.model.loops, Loops)
        own = run.recipe.quant.calibration
        if run.recipe.score.logit_ensemble:
            gathered = with_raw(*(calibrated(run, each, train_folder, stage) for each in (model, raw)))
        elif isinstance(own, OwnText):
            written = own_text(model, own, stage.ranks, run.seed, looped=looped)
            stage.log.emit("own_text", sequences=own.sequences, tokens=own.tokens, seconds=stage.seconds)
            gathered = collect(model, written, len(written), stage.ranks, looped=looped, events=stage.log)
        else:
            gathered = calibrated(run, model, train_folder, stage)
        if stage.ranks.is_first:
            save_tensors(hessians, gathered, {"seed": str(run.seed)})
        stage.log.emit("done", seconds=stage.seconds)


def calibrated(run: Run, model: Gpt, train_folder: Path, stage: Stage) -> dict[str, Tensor]:
    """Hessians on the first training batches, and where bits or rates follow gradients, their squares on the same."""
    looped = isinstance(run.recipe.model.loops, Loops)
    gathered = collect(
        model,
        training_batches(run.recipe, train_folder, stage.ranks),
        run.recipe.train.calibration_batches,
        stage.ranks,
        looped=looped,
        events=stage.log,
    )
    if isinstance(run.recipe.quant.mixing, GradientBits):
        gathered |= sensitivities(
            model,
            training_batches(run.recipe, train_folder, stage.ranks),
            run.recipe.train.calibration_batches,
            stage.ranks,
            looped=looped,
        )
    if isinstance(run.recipe.quant.rates, Lagrangian):
        gathered |= row_sensitivities(
            model,
            training_batches(run.recipe, train_folder, stage.ranks),
            run.recipe.train.calibration_batches,
            stage.ranks,
            looped=looped,
        )
    return gathered


def rotate_gptq_stage(run: Run, *, checkpoint: Path, hessians: Path, quantized: Path, events: Path) -> None:
    """Weights and Hessians to integers, steps and kept tensors (safetensors)."""
    with open_stage(run, "rotate_gptq", events, alone=evaluates_alone(run.recipe)) as stage:
        if run.recipe.score.ranks == "all":
            stage.ranks.barrier()  # in a whole run, the first rank has written both files just now
        if run.recipe.score.logit_ensemble:
            model, raw = restore_checkpoint_pair(run, checkpoint, torch.device("cpu"))
            gathered, raw_gathered = split_raw(load_tensors(hessians))
            rounded = joined(
                rounded_model(run, model, gathered, stage),
                rounded_model(run, raw, raw_gathered, stage),
                run.recipe.quant,
            )
        else:
            model = restore_checkpoint(run, checkpoint, torch.device("cpu"))
            rounded = rounded_model(run, model, load_tensors(hessians), stage)
        if run.recipe.score.ranks == "first" or stage.ranks.is_first:
            save_quantized(quantized, rounded)
        stage.log.emit("done", seconds=stage.seconds)


def rounded_model(run: Run, model: Gpt, gathered: Mapping[str, Tensor], stage: Stage) -> QuantizedModel:
    """One model rounded by its Hessians: by all ranks together where they share the work."""
    if isinstance(run.recipe.quant.rates, Lagrangian):
        return rounded_to_fit(
            model,
            gathered,
            run.recipe.quant,
            run.recipe.quant.rates,
            {"recipe_sha256": run.recipe_sha256, "seed": run.seed},
            stage.log,
            partial(round_in_batches, stage.ranks) if run.recipe.score.ranks == "all" else None,
            stage.ranks if run.recipe.score.ranks == "all" else None,
        )
    if run.recipe.score.ranks == "all":
        return rotate_gptq(model, gathered, run.recipe.quant, stage.log, partial(round_in_batches, stage.ranks))
    return rotate_gptq(model, gathered, run.recipe.quant, stage.log)


def compress_stage(run: Run, *, quantized: Path, artifact: Path, events: Path) -> int:
    """Integers to the artifact, whose size the rule counts and this returns."""
    with open_stage(run, "compress", events, alone=True) as stage:
        extra = {"recipe_sha256": run.recipe_sha256, "seed": run.seed}
        if isinstance(run.recipe.quant.pruning, PrunedOnes):
            pruned = pruned_to_fit(
                load_quantized(quantized),
                run.recipe.quant,
                run.recipe.quant.pruning,
                extra,
                stage.log,
            )
            data = pack(pruned, run.recipe.quant, extra)
        else:
            data = pack(load_quantized(quantized), run.recipe.quant, extra)
        write_bytes_atomic(artifact, data)
        stage.log.emit(
            "done",
            artifact_bytes=len(data),
            artifact_sha256=sha256_file(artifact),
            forecast_bytes=run.forecast_bytes,
            seconds=stage.seconds,
        )
        return len(data)


def evaluate_stage(
    run: Run, val_folder: Path, tokenizer: Path, *, artifact: Path, scores: Path, ledger: Path, events: Path
) -> list[Score]:
    """Artifact and validation shards to the scores; nothing else is read.

    The quantized weights are scored as they are, then with the recipe's method, which writes the ledger.
    """
    with open_stage(run, "evaluate", events, alone=evaluates_alone(run.recipe)) as stage:
        stage.ranks.barrier()  # in a whole run, the first rank has written the artifact just now
        artifact_sha256 = sha256_file(artifact)
        if run.recipe.score.logit_ensemble:
            model, raw = restore_artifact_pair(run, artifact, stage.ranks.device)
        else:
            model = restore_artifact(run, artifact, stage.ranks.device)
        if run.recipe.model.attention != "sdpa":
            settle_attention(model, stage)
        if run.recipe.score.logit_ensemble:
            raw.attention = model.attention
        tokens_N, bytes_N = validation(run, val_folder, tokenizer)
        stage.log.emit("load", seconds=stage.seconds, artifact_sha256=artifact_sha256)
        spec = run.recipe.score
        looped = isinstance(run.recipe.model.loops, Loops)
        quantized = evaluate(
            model,
            tokens_N,
            bytes_N,
            spec,
            spec.diagnostic,
            seed=run.seed,
            looped=looped,
            ledger_path=None,
            events=stage.log,
            name="quantized",
            artifact_sha256=artifact_sha256,
            ranks=stage.ranks,
            raw=raw if run.recipe.score.logit_ensemble else None,
        )
        final = evaluate(
            model,
            tokens_N,
            bytes_N,
            spec,
            spec.method,
            seed=run.seed,
            looped=looped,
            ledger_path=ledger if stage.ranks.is_first else None,
            events=stage.log,
            name="final",
            artifact_sha256=artifact_sha256,
            ranks=stage.ranks,
            raw=raw if run.recipe.score.logit_ensemble else None,
        )
        if stage.ranks.is_first:
            write_scores(scores, [quantized, final], artifact_sha256)
        stage.log.emit("done", seconds=stage.seconds)
        return [quantized, final]


def evaluate_float_stage(
    run: Run, val_folder: Path, tokenizer: Path, *, checkpoint: Path, scores: Path, events: Path
) -> Score:
    """Weights before quantization to a diagnostic score: what rounding costs is told against it."""
    with open_stage(run, "float", events, alone=evaluates_alone(run.recipe)) as stage:
        stage.ranks.barrier()
        if run.recipe.score.logit_ensemble:
            model, raw = restore_checkpoint_pair(run, checkpoint, stage.ranks.device)
        else:
            model = restore_checkpoint(run, checkpoint, stage.ranks.device)
        if run.recipe.model.attention != "sdpa":
            settle_attention(model, stage)
        if run.recipe.score.logit_ensemble:
            raw.attention = model.attention
        tokens_N, bytes_N = validation(run, val_folder, tokenizer)
        score = evaluate(
            model,
            tokens_N,
            bytes_N,
            run.recipe.score,
            run.recipe.score.diagnostic,
            seed=run.seed,
            looped=isinstance(run.recipe.model.loops, Loops),
            ledger_path=None,
            events=stage.log,
            name="float",
            artifact_sha256=sha256_file(checkpoint),
            ranks=stage.ranks,
            raw=raw if run.recipe.score.logit_ensemble else None,
        )
        if stage.ranks.is_first:
            write_scores(scores, [score], sha256_file(checkpoint))
        stage.log.emit("done", seconds=stage.seconds)
        return score


def evaluates_alone(recipe: Recipe) -> bool:
    """Whether the first rank rounds and scores by itself, whoever else was started."""
    return recipe.score.ranks == "first"


def restore_checkpoint(run: Run, checkpoint: Path, device: torch.device) -> Gpt:
    """The model of a checkpoint that this run's train stage wrote, unless it holds an ensemble's two."""
    return load_model(checkpoint, run.recipe.model, compute_dtype(device)).to(device)


def restore_checkpoint_pair(run: Run, checkpoint: Path, device: torch.device) -> tuple[Gpt, Gpt]:
    """The models of an ensemble's checkpoint: the average, and the weights of the last step."""
    average, raw = (
        model_of(tensors, checkpoint, run.recipe.model, compute_dtype(device)).to(device)
        for tensors in split_raw(load_tensors(checkpoint))
    )
    return average, raw


def restore_artifact(run: Run, artifact: Path, device: torch.device) -> Gpt:
    """The model that the artifact's bytes give back, any rotation folded into its weights unless it is to be online.

    An ensemble's artifact holds two: ``restore_artifact_pair``.
    """
    data = artifact_bytes(artifact)
    if run.recipe.quant.rotate_online:
        baked, header = unpack(data, run.recipe.quant, fold=False)
        return online_model(run.recipe.model, baked, header["rotation"], compute_dtype(device)).to(device)
    state, _ = unpack(data, run.recipe.quant)
    return unpacked_model(run, state, device)


def restore_artifact_pair(run: Run, artifact: Path, device: torch.device) -> tuple[Gpt, Gpt]:
    """The models of an ensemble's artifact: the average, and the weights of the last step."""
    state, _ = unpack(artifact_bytes(artifact), run.recipe.quant)
    average, raw = (unpacked_model(run, weights, device) for weights in split_raw(state))
    return average, raw


def unpacked_model(run: Run, state: Mapping[str, Tensor], device: torch.device) -> Gpt:
    """The model with these weights, by names outside banks."""
    model = Gpt(run.recipe.model, dtype=compute_dtype(device))
    model.load_state_dict(bank(state, run.recipe.model))
    return model.to(device)


def artifact_bytes(artifact: Path) -> bytes:
    """The file's bytes; ``DataError`` if it cannot be read."""
    try:
        return artifact.read_bytes()
    except OSError as error:
        raise DataError(f"{artifact}: cannot be read: {error.strerror or error}") from error


def validation(run: Run, val_folder: Path, tokenizer: Path) -> tuple[Int[Tensor, " N"], Int[Tensor, " N"]]:
    """The validation stream, and the bytes that each of its positions counts as a target.

    The recipe settles what counts them: where texts were rewritten, sidecars do.
    """
    tokens_N = load_tokens(val_folder, "val")
    if run.recipe.data.transform == "caseops":
        return tokens_N, sidecar_targets(val_folder, tokens_N)
    return tokens_N, ByteTable.from_tokenizer(tokenizer).of_targets(tokens_N)


def save_quantized(path: Path, model: QuantizedModel) -> None:
    """Write symbols, steps and kept tensors into one safetensors file."""
    groups = {"symbols": model.symbols, "steps": model.steps, "kept": model.kept}
    tensors = {f"{group}/{name}": tensor for group, named in groups.items() for name, tensor in named.items()}
    save_tensors(path, tensors, {})


def load_quantized(path: Path) -> QuantizedModel:
    """What ``save_quantized`` wrote."""
    tensors = load_tensors(path)
    groups: dict[str, dict[str, Tensor]] = {"symbols": {}, "steps": {}, "kept": {}}
    for key, tensor in tensors.items():
        group, _, name = key.partition("/")
        if group not in groups:
            raise DataError(f"{path}: tensors lie under symbols/, steps/ or kept/, got {key!r}")
        groups[group][name] = tensor
    return QuantizedModel(**groups)


def write_scores(path: Path, scores: list[Score], weights_sha256: str) -> None:
    """Write the scores of one evaluation as JSON."""
    content: Mapping[str, Any] = {"scores": [asdict(score) for score in scores], "weights_sha256": weights_sha256}
    write_text_atomic(path, json.dumps(content, indent=1) + "\n")
