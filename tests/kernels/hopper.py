"""A program, not a test: compile every kernel for sm_90 at the sizes of the full recipes, print what it takes as JSON.

Triton compiles in a process whose ``TRITON_INTERPRET`` was off from the beginning, and needs no GPU for it.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from fairway.kernels import (
    fused_ce,
    fused_exclusive,
    fused_heads,
    fused_junction,
    fused_lanes,
    fused_mlp,
    symmetric,
    viterbi,
)
from fairway.quant.trellis import trellis_checks

HALF, FLOAT, COUNT, REAL = "*bf16", "*fp32", "i32", "fp32"

CASES = {
    "ce": (fused_ce._softcap_ce_row, [HALF, "*i64", FLOAT, COUNT, REAL], [True, 8192], 16, 1),
    "up": (
        fused_mlp._mlp_up_tile,
        [HALF, HALF, HALF, "*u8", COUNT, COUNT, COUNT, REAL],
        [True, *fused_mlp._MLP_TILE],
        fused_mlp._MLP_WARPS,
        fused_mlp._MLP_STAGES,
    ),
    "back": (
        fused_mlp._mlp_back_tile,
        [HALF, HALF, HALF, "*u8", HALF, COUNT, COUNT, COUNT, REAL],
        [True, *fused_mlp._MLP_TILE],
        fused_mlp._MLP_WARPS,
        fused_mlp._MLP_STAGES,
    ),
    "rotary": (fused_heads._rotary_forward, [HALF] * 5 + [COUNT] * 3 + [REAL], [True, 64, 8, 16, 64, 64], 4, 1),
    "rotary back": (
        fused_heads._rotary_backward,
        [HALF] * 6 + [FLOAT] + [COUNT] * 3 + [REAL],
        [True, 64, 8, 16, 64, 64],
        4,
        1,
    ),
    "exclusive": (fused_exclusive._exclusive_forward, [HALF] * 4 + [COUNT] * 2 + [REAL], [True, 2, 64, 32, 64], 4, 1),
    "exclusive back": (
        fused_exclusive._exclusive_backward,
        [HALF] * 7 + [COUNT] * 2 + [REAL],
        [True, 2, 64, 32, 64],
        4,
        1,
    ),
    "mix": (fused_junction._mix_forward, [HALF] * 6 + [COUNT, REAL, REAL], [True, 512, 4, 512], 4, 1),
    "mix back": (
        fused_junction._mix_backward,
        [HALF] * 9 + [FLOAT, COUNT, REAL, REAL],
        [True, True, 512, 4, 512],
        4,
        1,
    ),
    "lanes": (
        fused_lanes._lanes_forward,
        [HALF] * 6 + [FLOAT] + [HALF] * 4 + [COUNT, REAL, REAL],
        [True, 512, 2, 512],
        8,
        1,
    ),
    "lanes back": (
        fused_lanes._lanes_backward,
        [HALF] * 10 + [FLOAT] + [HALF] * 8 + [FLOAT, COUNT, REAL, REAL],
        [True, 512, 2, 512],
        8,
        1,
    ),
    "symmetric": (symmetric._symmetric_tile, [HALF] * 3 + [COUNT] * 2 + [REAL] * 2, [True, 128, 64], 8, 3),
    "viterbi": (viterbi._viterbi_column, [FLOAT] * 2 + ["*i8"] * 2 + [COUNT] * 3, [64, *trellis_checks(64)], 1, 1),
}
UNFUSED = ("viterbi",)
"""Kernels that are launched with ``enable_fp_fusion=False``."""


def take(name: str, folder: Path) -> dict[str, object]:
    """Shared bytes, registers, spilled bytes, matrix instructions and sums fused with products of one kernel."""
    kernel, given, fixed, warps, stages = CASES[name]
    function = triton.jit(kernel._function)
    constants = dict(zip(function.arg_names[len(given) :], fixed, strict=True))
    assert all(parameter.is_constexpr == (parameter.name in constants) for parameter in function.params), name
    signature = {**dict(zip(function.arg_names, given, strict=False)), **dict.fromkeys(constants, "constexpr")}
    aligned = {(i,): [["tt.divisibility", 16]] for i, kind in enumerate(given) if kind != REAL}
    compiled = triton.compile(
        ASTSource(function, signature, constants, aligned),
        target=GPUTarget("cuda", 90, 32),
        options={"num_warps": warps, "num_stages": stages, "enable_fp_fusion": name not in UNFUSED},
    )
    ptx, assembler = folder / f"{name}.ptx", Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "ptxas"
    ptx.write_text(compiled.asm["ptx"], encoding="utf-8")
    command = [str(assembler), "-v", "--gpu-name=sm_90a", str(ptx), "-o", str(ptx.with_suffix(".cubin"))]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    spilled = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", told)
    registers = re.search(r"Used (\d+) registers", told)
    assert spilled and registers, told
    return {
        "shared_bytes": compiled.metadata.shared,
        "registers": int(registers[1]),
        "spilled_bytes": int(spilled[1]) + int(spilled[2]),
        "matrix_instructions": compiled.asm["ptx"].count("wgmma.mma_async"),
        "fused_sums": len(re.findall(r"\bfma\.rn|(?:mul|add|sub)\.f32", compiled.asm["ptx"])),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps({name: take(name, Path(sys.argv[1])) for name in CASES}))
