"""Every kernel compiles for a Hopper GPU at the sizes of the full recipes: that needs Triton, but no GPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve()
SHARED_BYTES = 232_448
"""Of one processor of an H100, for one program."""


def test_every_kernel_compiles_for_sm_90_within_registers_and_shared_memory(tmp_path):
    pytest.importorskip("triton", reason="Triton is not installed")
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = os.pathsep.join([str(HERE.parents[2] / "src"), *filter(None, sys.path)])
    environment["TRITON_CACHE_DIR"] = str(tmp_path / "cache")
    command = [sys.executable, str(HERE.with_name("hopper.py")), str(tmp_path)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    taken = json.loads(result.stdout)
    assert len(taken) == 13
    for name, one in taken.items():
        assert one["spilled_bytes"] == 0, (name, one)
        assert one["shared_bytes"] <= SHARED_BYTES, (name, one)
        assert (one["matrix_instructions"] > 0) == (name in ("up", "back", "symmetric")), (name, one)
    # of paths all but equal the same one wins as in torch only if every product is rounded; no warp waits for another
    assert taken["viterbi"]["fused_sums"] == taken["viterbi"]["shared_bytes"] == 0
    assert taken["mix"]["fused_sums"] > 0
