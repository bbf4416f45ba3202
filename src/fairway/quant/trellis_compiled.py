"""Best paths by a C compiler's code: bit for bit those of ``best_path`` on a CPU, some thirty times as fast.

Torch does little work in each of a path's steps and is called ten times for it. Here a step of sixteen columns is one
loop that compilers turn into vector instructions. The code is compiled at first use, for the machine that it runs on.
"""

import ctypes
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

import torch
from jaxtyping import Float, Int8
from torch import Tensor
from torch.nn.functional import pad

from fairway.errors import GateError
from fairway.quant.grid import largest_symbol
from fairway.quant.trellis import trellis_next

_COMPILED_LANES = 16
_COMPILED_NAMES = ("cc", "gcc", "clang")
# no contraction: a sum that is fused with a product is rounded once, torch's twice
_COMPILED_FLAGS = ("-O3", "-march=native", "-ffp-contract=off", "-shared", "-fPIC")
_COMPILED_SOURCE = r"""
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#define LANES 16

int best_path(const float *target, const float *weight, int8_t *symbol, const int32_t *before,
              int64_t rows, int64_t columns, int64_t states, int64_t largest)
{
    float *held = malloc(2 * states * LANES * sizeof *held);
    uint8_t *second = malloc(rows * states * LANES);
    int8_t *near = malloc(rows * 4 * LANES);
    int failed = !held || !second || !near;
    for (int64_t start = 0; !failed && start < columns; start += LANES) {
        float *least = held, *next = held + states * LANES;
        for (int64_t i = 0; i < states * LANES; i++)
            least[i] = i < LANES ? 0 : INFINITY;
        for (int64_t row = 0; row < rows; row++) {
            const float *t = target + row * columns + start, *w = weight + row * columns + start;
            float cost[4][LANES];
            for (int subset = 0; subset < 4; subset++) {
                float low = -largest + (subset + largest) % 4, high = largest - (largest - subset) % 4;
                for (int lane = 0; lane < LANES; lane++) {
                    float s = rintf((t[lane] - subset) / 4) * 4 + subset;
                    s = s < low ? low : s > high ? high : s;
                    near[(row * 4 + subset) * LANES + lane] = (int8_t)s;
                    cost[subset][lane] = (t[lane] - s) * (t[lane] - s) * w[lane];
                }
            }
            for (int64_t state = 0; state < states; state++) {
                int odd = states > 1 && state >= states / 2;
                const float *a = least + before[state] * LANES, *b = least + before[states + state] * LANES;
                uint8_t *chosen = second + (row * states + state) * LANES;
                for (int lane = 0; lane < LANES; lane++) {
                    float one = a[lane] + cost[odd][lane], two = b[lane] + cost[2 + odd][lane];
                    chosen[lane] = two < one;
                    next[state * LANES + lane] = two < one ? two : one;
                }
            }
            float *swapped = least;
            least = next;
            next = swapped;
        }
        for (int lane = 0; lane < LANES; lane++) {
            int64_t state = 0;
            for (int64_t other = 1; other < states; other++)
                if (least[other * LANES + lane] < least[state * LANES + lane])
                    state = other;
            for (int64_t row = rows - 1; row >= 0; row--) {
                int chosen = second[(row * states + state) * LANES + lane];
                int odd = states > 1 && state >= states / 2;
                symbol[row * columns + start + lane] = near[(row * 4 + 2 * chosen + odd) * LANES + lane];
                state = before[chosen * states + state];
            }
        }
    }
    free(held);
    free(second);
    free(near);
    return failed;
}
"""


def compiled_best_path(
    target_RB: Float[Tensor, "R B"], weight_RB: Float[Tensor, "R B"], states: int, bits: int
) -> Int8[Tensor, "R B"]:
    """What ``best_path`` gives; ``GateError`` without a C compiler, and on a GPU."""
    if target_RB.device.type != "cpu":
        raise GateError(f"engine compiled of a trellis is for CPUs, not for {target_RB.device.type}; take engine torch")
    rows, columns = target_RB.shape
    spare = -columns % _COMPILED_LANES
    target, weight = (pad(each.float(), (0, spare)).contiguous() for each in (target_RB, weight_RB))
    before = trellis_next(states).argsort(dim=0).T.contiguous().int()
    symbol = torch.empty(rows, columns + spare, dtype=torch.int8)
    pointers = [ctypes.c_void_p(each.data_ptr()) for each in (target, weight, symbol, before)]
    sizes = [ctypes.c_int64(size) for size in (rows, columns + spare, states, largest_symbol(bits))]
    if _compiled_library().best_path(*pointers, *sizes):
        raise GateError(f"paths of {rows} rows and {states} states must fit into memory, which they do not")
    return symbol[:, :columns].contiguous()


def c_compiler() -> str | None:
    """The path of the compiler that makes the paths' code; None where there is none."""
    return next((found for name in _COMPILED_NAMES if (found := shutil.which(name))), None)


@lru_cache(maxsize=1)
def _compiled_library() -> ctypes.CDLL:
    compiler = c_compiler()
    if compiler is None:
        raise GateError(
            f"engine compiled of a trellis needs a C compiler, but none of {', '.join(_COMPILED_NAMES)} is installed;"
            " install one, or take engine torch"
        )
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / "path.c", Path(folder) / "path.so"
        source.write_text(_COMPILED_SOURCE, encoding="utf-8")
        done = subprocess.run(
            [compiler, *_COMPILED_FLAGS, "-o", str(library), str(source), "-lm"],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["no message"]
            raise GateError(f"engine compiled of a trellis: {compiler} ended with status {done.returncode}: {lines[0]}")
        # what is loaded stays, though its file goes
        return ctypes.CDLL(str(library))
