"""Decodes documents from a bitstream, an artifact and a recipe: ``python -m fairway.probes.decoder``.

The process that runs this has never held the documents. It rebuilds the evaluator as ``main.evaluate_stage`` does,
asks it for predictions with the tokens that it has decoded so far, decodes the next ones by them, and shows it the
targets of each update once they are decoded. What comes out can only be right if each prediction depended on earlier
tokens, lengths and the artifact alone.

A prediction is asked of a copy of the method, and of the method itself only when all inputs of the step are known:
so the method learns from the very forward that the scoring evaluation learned from, and its state never sees the
tokens that stood in for the unknown ones.
"""

import argparse
import copy
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn import functional

from fairway.errors import DataError, FairwayError, MalformedError
from fairway.kernels.backend import choose_attention
from fairway.main import Run, compute_dtype, restore_artifact, restore_artifact_pair
from fairway.model.gpt import Gpt
from fairway.probes.bitstream import Bitstream, from_bytes
from fairway.probes.rangecode import Reader, known_at_first, rounds
from fairway.recipes.load import read_resolved
from fairway.runtime.files import sha256_file, write_bytes_atomic, write_text_atomic
from fairway.runtime.ranks import Ranks
from fairway.runtime.seeding import set_threads
from fairway.score.evaluate import build_evaluator
from fairway.score.referee import Evaluator, check_plan
from fairway.score.steps import LearnStep
from fairway.spec.model import Loops
from fairway.spec.recipe import Recipe

FILLER = 0
"""Stands where a token is not known yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """What came out of a bitstream."""

    tokens_N: Int[Tensor, " N"]
    nats: float
    """Summed loss of the decoded targets, by the predictions of the complete steps, added as a ledger does."""
    updates: int
    forwards: int


def restore(recipe: Recipe, artifact: Path, device: torch.device) -> list[Gpt]:
    """The artifact's model, or both of an ensemble, with attention chosen as ``main.evaluate_stage`` has it.

    ``ArtifactError`` or ``RecipeError`` where the one does not fit the other.
    """
    run = Run(recipe=recipe, recipe_sha256="", forecast_bytes=0, seed=0, code_sha256="", code_bytes=0)
    models = (
        [*restore_artifact_pair(run, artifact, device)]
        if recipe.score.logit_ensemble
        else [restore_artifact(run, artifact, device)]
    )
    spec = recipe.model
    for model in models if spec.attention != "sdpa" else ():
        model.attention = choose_attention(spec.attention, device, compute_dtype(device), spec.head_width).attention
    return models


def evaluator_of(models: Sequence[Gpt], recipe: Recipe, *, seed: int) -> Evaluator:
    """The recipe's method over copies of what ``restore`` gave, as ``main.evaluate_stage`` makes it for one process."""
    model, *others = models
    ranks = Ranks(0, 1, model.get_parameter("embedding").device)
    looped = isinstance(recipe.model.loops, Loops)
    raw = others[0] if others else None
    return build_evaluator(model, recipe.score, recipe.score.method, seed=seed, looped=looped, ranks=ranks, raw=raw)


def decode(method: Evaluator, stream: Bitstream, *, device: torch.device | None = None) -> Decoded:
    """Decode all documents; ``MalformedError`` where the code and the method's predictions do not fit together.

    They need not disagree to be wrong: other predictions than those that wrote the code give other tokens, which only
    a comparison with the documents shows.
    """
    lengths = stream.lengths
    steps = tuple(method.plan(lengths))
    check_plan(steps, lengths)
    known = known_at_first(lengths)
    is_bos = bytes(known)
    tokens_N = torch.full((sum(lengths),), FILLER, dtype=torch.int64, device=device)
    tokens_N[torch.tensor([at for at, flag in enumerate(is_bos) if flag], device=device)] = stream.bos
    reader = Reader(stream.words)
    span_nats: list[float] = []
    updates = forwards = 0
    for step in steps:
        if isinstance(step, LearnStep):
            method.update(
                step,
                [tokens_N[start - 1 : stop - 1].clone() for start, stop in step.spans],
                [tokens_N[start:stop].clone() for start, stop in step.spans],
            )
            updates += 1
            continue
        turns = rounds(step, known)
        for number, places in enumerate(turns, 1):
            asked = method if number == len(turns) else copy.deepcopy(method)
            inputs = [tokens_N[span.context : span.stop - 1].clone() for span in step.spans]
            logits = asked.predict(step, inputs)
            forwards += 1
            for index, row, position in places:
                if logits[index].shape != (step.spans[index].targets, stream.vocab_size):
                    raise MalformedError(
                        f"logits have shape {tuple(logits[index].shape)}, a span of {step.spans[index].targets} targets"
                        f" over {stream.vocab_size} tokens needs {(step.spans[index].targets, stream.vocab_size)}"
                    )
                token = reader.take(logits[index][row])
                if is_bos[position] and token != stream.bos:
                    raise MalformedError(
                        f"position {position} decodes to {token}, but a document begins there, with {stream.bos}"
                    )
                tokens_N[position] = token
        losses = functional.cross_entropy(
            torch.cat([each.detach() for each in logits]).to(torch.float32),
            torch.cat([tokens_N[span.start : span.stop] for span in step.spans]),
            reduction="none",
        )
        span_nats += [math.fsum(each.tolist()) for each in losses.split([span.targets for span in step.spans])]
    reader.finish()
    return Decoded(
        tokens_N=tokens_N.cpu(),
        nats=math.fsum(span_nats),
        updates=updates,
        forwards=forwards,
    )


def decode_files(
    *, artifact: Path, recipe: Path, bitstream: Path, tokens: Path, report: Path, device: torch.device
) -> None:
    """Write the decoded tokens (uint16, little-endian, as in a shard) and a report; errors as ``decode``.

    ``DataError`` if artifact or recipe are not those that the bitstream names.
    """
    try:
        stream = from_bytes(bitstream.read_bytes(), str(bitstream))
    except OSError as error:
        raise DataError(f"{bitstream}: cannot be read: {error.strerror or error}") from error
    resolved = read_resolved(recipe)
    held = {"artifact": (artifact, sha256_file(artifact)), "recipe": (recipe, resolved.sha256)}
    named = {"artifact": stream.artifact_sha256, "recipe": stream.recipe_sha256}
    for what, (path, sha256) in held.items():
        if sha256 != named[what]:
            raise DataError(f"{path}: has SHA-256 {sha256}, the bitstream is of the {what} with {named[what]}")
    models = restore(resolved.recipe, artifact, device)
    decoded = decode(evaluator_of(models, resolved.recipe, seed=stream.seed), stream, device=device)
    write_bytes_atomic(tokens, decoded.tokens_N.to(torch.uint16).numpy().astype("<u2").tobytes())
    told = {"nats": decoded.nats, "updates": decoded.updates, "forwards": decoded.forwards}
    write_text_atomic(report, json.dumps(told) + "\n")


def main(arguments: Sequence[str]) -> int:
    """The fresh process: exit status 0, or 2 with one line on the standard error."""
    parser = argparse.ArgumentParser(prog="decoder", description="Decode documents from a bitstream.")
    for name in ("artifact", "recipe", "bitstream", "tokens", "report"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True, help="as many as the documents were encoded with")
    parser.add_argument("--device", default="cpu")
    given = vars(parser.parse_args(arguments))
    try:
        set_threads(given.pop("threads"))
        decode_files(**given | {"device": torch.device(given["device"])})
    except FairwayError as error:
        sys.stderr.write(" ".join(str(error).split()) + "\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
