"""Fast tensor functions without a model around them; each has a slow definition in its test.

Gradients are written by hand where autograd would compose many small passes over memory: outside of a
compiler those cost a small model as much as its matrix products.

- ``varlen_attention``: causal attention over dense rows and over documents packed in one flat row.
- ``polar``: the nearest orthogonal matrix, nearly (Newton-Schulz).
- ``hadamard``: seeded orthogonal matrices with flat entries.
- ``channel_sum``: streams weighted by channel and added.
- ``norms``: root-mean-square normalisation.
- ``rotary_heads``: unit heads with a gain and a rotated part.
- ``leaky_square``: the square of a leaky ReLU.
- ``exclusive``: attention outputs without their own value's direction.
- ``softcap_ce``: softcapped cross-entropy in cache-sized blocks.
- ``backend``: where Triton is, if it is; kernels and operators made with it.
- ``fused_mlp``: the MLP's products with the activation and its derivative inside (Triton).
- ``fused_ce``: head and softcapped cross-entropy, the gradient in the place of the logits (Triton).
- ``fused_heads``: norm, gain and rotation of heads in one pass (Triton).
- ``fused_exclusive``: exclusive self attention and the gate of heads in one pass (Triton).
- ``fused_junction``: two streams' weighted sum and its norm in one pass (Triton).
- ``fused_lanes``: all that happens between two layers on two lanes in one pass (Triton).
- ``symmetric``: symmetric products, one triangle computed and mirrored (Triton).
"""
