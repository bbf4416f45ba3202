"""The whole of a run, and where it comes from."""

from dataclasses import dataclass

from fairway.spec.data import STRICT, DataSpec
from fairway.spec.mechanisms import NoSymmetry
from fairway.spec.model import ModelSpec
from fairway.spec.optim import OptimSpec
from fairway.spec.quant import (
    HalfGates,
    HandSet,
    NoCorrection,
    NoneKept,
    NoPruning,
    NoTriangles,
    QuantSpec,
    TrainingText,
)
from fairway.spec.score import ScoreSpec
from fairway.spec.train import TrainSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Which recipe this one changes, why, and whose work it stands on."""

    __pydantic_config__ = STRICT
    parents: tuple[str, ...] = ()
    """From the direct parent to the root."""
    because: str
    sources: tuple[str, ...] = ()
    """Papers and pull requests, e.g. ``#1695``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that decides a run but the seed and the machine."""

    __pydantic_config__ = STRICT
    name: str
    track: str
    seeds: tuple[int, ...]
    lineage: Lineage
    data: DataSpec
    model: ModelSpec
    optim: OptimSpec
    train: TrainSpec
    quant: QuantSpec
    score: ScoreSpec

    def __post_init__(self) -> None:
        """Refuse parts that contradict each other."""
        if self.model.vocab_size != self.data.vocab_size:
            raise ValueError(
                f"model.vocab_size ({self.model.vocab_size}) must equal data.vocab_size ({self.data.vocab_size})"
            )
        if self.score.logit_ensemble and not (
            isinstance(self.quant.kept, NoneKept)
            and isinstance(self.quant.gates, HalfGates)
            and isinstance(self.quant.correction, NoCorrection)
            and isinstance(self.quant.pruning, NoPruning)
            and isinstance(self.quant.triangles, NoTriangles)
            and isinstance(self.quant.calibration, TrainingText)
            and isinstance(self.quant.rates, HandSet)
            and isinstance(self.model.symmetry, NoSymmetry)
            and not self.quant.rotate_online
        ):
            raise ValueError(
                "score.logit_ensemble needs model.symmetry and quant.kept, gates, correction, pruning, triangles,"
                " calibration, rates and rotate_online as they are by default: nothing else is made twice"
            )
        if len(set(self.seeds)) != len(self.seeds) or not self.seeds:
            raise ValueError(f"seeds must be distinct and at least one, got {list(self.seeds)}")
