"""Best paths by a Triton kernel: bit for bit those of ``best_path``, one launch for all columns on a GPU."""

from jaxtyping import Float, Int8
from torch import Tensor

from fairway.errors import GateError
from fairway.kernels.operators import runs_triton
from fairway.kernels.viterbi import viterbi_columns
from fairway.quant.grid import largest_symbol
from fairway.quant.trellis import trellis_checks


def triton_best_path(
    target_RB: Float[Tensor, "R B"], weight_RB: Float[Tensor, "R B"], states: int, bits: int
) -> Int8[Tensor, "R B"]:
    """What ``best_path`` gives; ``GateError`` on a CPU where Triton does not interpret, ``RecipeError`` without it."""
    if not runs_triton(target_RB):
        raise GateError(
            f"engine triton of a trellis is for GPUs, not for {target_RB.device.type}; take engine compiled or torch"
        )
    return viterbi_columns(target_RB, weight_RB, states, trellis_checks(states), largest_symbol(bits))
