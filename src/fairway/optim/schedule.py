"""Rate and momentum as functions of progress. Pure: nothing here knows a clock or an optimizer."""

from fairway.spec.optim import MuonSpec, OptimSpec


def rate_scale(progress: float, spec: OptimSpec) -> float:
    """Multiplier of every rate at ``progress`` 0..1: 1, then linear down to ``min_lr`` over the last fraction.

    Progress is a share of the budget, never of a step count that is not reached (#1218, recipes C.3). There is
    no warm-up of the rate.
    """
    if progress < 1.0 - spec.warmdown_fraction or spec.warmdown_fraction == 0.0:
        return 1.0
    return min(1.0, max((1.0 - progress) / spec.warmdown_fraction, spec.min_lr))


def stepped_rate_scale(progress: float, steps: int, spec: OptimSpec) -> float:
    """Multiplier of every rate after ``steps`` steps that took ``progress`` of the budget (recipes C.3).

    1, then linear down to ``min_lr`` over what ``warmdown_steps`` steps of the mean duration so far would take: the
    rest of the budget over the time of those steps.
    """
    if progress <= 0.0:
        return 1.0
    remaining_steps = (1.0 - progress) * steps / progress
    return min(1.0, max(remaining_steps / spec.warmdown_steps, spec.min_lr))


def momentum_at(step: int, spec: MuonSpec) -> float:
    """Muon's momentum at a step counted from 0: linear from ``momentum_start`` to ``momentum``, then constant."""
    if step >= spec.momentum_warmup_steps:
        return spec.momentum
    share = step / spec.momentum_warmup_steps
    return spec.momentum_start + share * (spec.momentum - spec.momentum_start)
