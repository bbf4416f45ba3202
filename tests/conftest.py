"""Before anything imports Triton: where there is no GPU its interpreter serves, and that is settled at its import."""

import os

import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
