"""Weights of fairway and of the official scripts, as single matrices.

Whatever a file calls its matrices, here they are ``blocks.<layer>.<part>`` and ``embedding``, out of banks, in float32.
The official scripts keep one module a matrix (``blocks.3.attn.c_q.weight``; #1394 and before) or banks over all layers
(``qo_bank``: Q of every layer, then O; #1019, #1214, #1695), and write ``torch.save(model.state_dict())``. Names that
are neither stay as they are and are listed in ``kept``. What the scripts ship, int6 or int8 symbols in a compressed
archive, is not read.
"""

import pickle
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from fairway.errors import DataError
from fairway.runtime.tensors import load_metadata, load_tensors
from fairway.spec.recipe import Recipe
from fairway.spec.roles import is_named, matrix_name, split_matrix_name

_BANKS = {
    "qo_bank": ("q", "o"),
    "q_in_bank": ("q_in",),
    "q_out_bank": ("q_out",),
    "kv_bank": ("k", "v"),
    "up_bank": ("up",),
    "down_bank": ("down",),
    "mlp_up_bank": ("up",),
    "mlp_down_bank": ("down",),
}
"""The parts of a bank, one after another, each over all layers."""
_LINEAR = {
    "attn.c_q": "q",
    "attn.c_q_down": "q_in",
    "attn.c_q_up": "q_out",
    "attn.c_k": "k",
    "attn.c_v": "v",
    "attn.proj": "o",
    "mlp.fc": "up",
    "mlp.proj": "down",
}
_TABLES = {"tok_emb.weight": "embedding", "bigram.embed.weight": "bigram_embedding"}
_OFFICIAL = re.compile(r"blocks\.(\d+)\.([a-z_.]+)\.weight")
_WRAPPERS = ("_orig_mod.", "module.")
"""What torch.compile and DistributedDataParallel put before every name."""
_STATE_KEYS = ("model", "state_dict", "model_state_dict")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Named float32 tensors on the CPU, and what is known of where they come from."""

    name: str
    """What tables call it."""
    path: Path
    state: Mapping[str, Tensor]
    recipe: Recipe | None = None
    seed: int | None = None
    meta: Mapping[str, str] = field(default_factory=dict)
    kept: tuple[str, ...] = ()
    """Names that fairway does not know, in the file's own spelling."""

    @property
    def layers(self) -> int:
        """Number of layers that have a matrix."""
        return 1 + max((layer for layer, _ in self.places()), default=-1)

    @property
    def parts(self) -> tuple[str, ...]:
        """The matrices of a layer, in the order q, k, v, o, up, down."""
        order = ("q", "q_in", "q_out", "k", "v", "o", "up", "down")
        there = {part for _, part in self.places()}
        return tuple(part for part in order if part in there)

    def places(self) -> Iterator[tuple[int, str]]:
        """Layer and part of each matrix of a block."""
        for name in self.state:
            try:
                yield split_matrix_name(name)
            except ValueError:
                continue

    def has(self, layer: int, part: str) -> bool:
        """Whether there is such a matrix."""
        return matrix_name(layer, part) in self.state

    def matrix(self, layer: int, part: str) -> Tensor:
        """A matrix as it stands in the model, (outputs, inputs); a factored Q as the product of its factors."""
        if part == "q" and not self.has(layer, "q") and self.has(layer, "q_in") and self.has(layer, "q_out"):
            return self.state[matrix_name(layer, "q_out")] @ self.state[matrix_name(layer, "q_in")]
        return self.state[matrix_name(layer, part)]


def load_checkpoint(path: Path, recipe: Recipe | None) -> Checkpoint:
    """Read ``.safetensors`` (fairway's or the official scripts' names) or ``.pt`` (a state dict of tensors only).

    ``DataError`` for a file that is damaged, that holds anything but tensors, whose weights are not finite, or that
    has another number of layers than ``recipe``.
    """
    if path.suffix == ".safetensors":
        found, meta = load_tensors(path), load_metadata(path)
    else:
        found, meta = _load_pt(path), {}
    state, kept = _named(path, found)
    checkpoint = Checkpoint(
        name=_called(path),
        path=path,
        state=state,
        recipe=recipe,
        seed=int(meta["seed"]) if meta.get("seed", "").isdecimal() else None,
        meta=meta,
        kept=kept,
    )
    if not checkpoint.layers:
        raise DataError(
            f"{path}: holds no matrix of a block; expected blocks.<layer>.attn.c_q.weight and the like, or banks"
            f" (qo_bank, kv_bank, ...), got {', '.join(sorted(found)[:6]) or 'nothing'}"
        )
    if recipe is not None and checkpoint.layers != recipe.model.layers:
        raise DataError(
            f"{path}: has {checkpoint.layers} layers, but recipe {recipe.name} has {recipe.model.layers};"
            " name the recipe that made it (--recipe)"
        )
    return checkpoint


def _called(path: Path) -> str:
    """The folder's name for files that are called alike in every folder, else the file's."""
    return path.resolve().parent.name if path.stem in ("model", "final_model") else path.stem


def _load_pt(path: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is strange about a file is told by the error that follows
            found = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; it should hold a state dict (torch.save)") from error
    except pickle.UnpicklingError as error:
        reason = next((line for line in str(error).splitlines() if "GLOBAL" in line or "nsupported" in line), "")
        raise DataError(
            f"{path}: refused, for it is no plain state dict of tensors, and loading it would run its code"
            f" ({reason.strip() or 'not a file of torch.save'}); save model.state_dict() instead"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise DataError(f"{path}: not a whole file of torch.save: {_first_line(error)}") from error
    if isinstance(found, Mapping):
        inner = [found[key] for key in _STATE_KEYS if isinstance(found.get(key), Mapping)]
        found = inner[0] if inner else found
    if isinstance(found, Mapping) and ({"w", "m"} <= found.keys() or "quantized" in found):
        raise DataError(f"{path}: holds rounded symbols, which studies do not read; give the float weights instead")
    if not isinstance(found, Mapping) or not found or not all(isinstance(each, Tensor) for each in found.values()):
        raise DataError(f"{path}: must hold a state dict, names to tensors, got {type(found).__name__}")
    return {str(name): tensor for name, tensor in found.items()}


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _named(path: Path, found: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The tensors under fairway's names in float32, and the names that have none."""
    state: dict[str, Tensor] = {}
    kept = []
    for official, tensor in found.items():
        name = official
        for wrapper in _WRAPPERS:
            name = name.removeprefix(wrapper)
        if not tensor.dtype.is_floating_point and tensor.ndim > 1:
            raise DataError(
                f"{path}: {name} holds {str(tensor.dtype).removeprefix('torch.')}; studies read float weights, not"
                " int6 or int8 symbols"
            )
        tensor = tensor.detach().float()
        if not bool(tensor.isfinite().all()):
            raise DataError(f"{path}: {name} holds values that are not finite")
        if name in _BANKS:
            parts = ("o",) if name == "qo_bank" and any(each.endswith("q_in_bank") for each in found) else _BANKS[name]
            pairs = _unbanked(path, name, parts, tensor)
        else:
            mine = _single(name)
            if mine == name and not is_named(name):
                kept.append(name)
            pairs = {mine: tensor}
        twice = pairs.keys() & state.keys()
        if twice:
            raise DataError(f"{path}: holds {min(twice)} twice, under two spellings")
        state |= pairs
    return state, tuple(kept)


def _unbanked(path: Path, name: str, parts: tuple[str, ...], bank: Tensor) -> dict[str, Tensor]:
    layers, rest = divmod(bank.shape[0], len(parts)) if bank.ndim == 3 else (0, 1)
    if rest:
        raise DataError(
            f"{path}: {name} must hold {' and '.join(parts)} of every layer, (layers x {len(parts)}, outputs, inputs),"
            f" got {tuple(bank.shape)}"
        )
    return {matrix_name(i % layers, parts[i // layers]): matrix for i, matrix in enumerate(bank.unbind())}


def _single(name: str) -> str:
    if name in _TABLES:
        return _TABLES[name]
    match = _OFFICIAL.fullmatch(name)
    if match is not None and match[2] in _LINEAR:
        return matrix_name(int(match[1]), _LINEAR[match[2]])
    return name
