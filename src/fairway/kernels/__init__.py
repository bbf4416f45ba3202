"""Fast tensor functions without a model around them; each has a slow definition in its test.

Gradients are written by hand where autograd would compose many small passes over memory: outside of a
compiler those cost a small model as much as its matrix products.

- ``attention``: one interface to causal attention, whatever computes it.
- ``varlen_attention``: PyTorch's scaled_dot_product_attention over dense rows and over packed documents.
- ``flash_attention``: FlashAttention 3, FlashAttention 4 and PyTorch's variable-length attention.
- ``flex_attention``: FlexAttention under a block mask of causal documents.
- ``backend``: which of them a stage runs.
- ``polar``: the nearest orthogonal matrix, nearly (Newton-Schulz).
- ``hadamard``: seeded orthogonal matrices with flat entries.
- ``channel_sum``: streams weighted by channel and added.
- ``norms``: root-mean-square normalisation.
- ``rotary_heads``: unit heads with a gain and a rotated part.
- ``leaky_square``: the square of a leaky ReLU.
- ``exclusive``: attention outputs without their own value's direction.
- ``softcap_ce``: softcapped cross-entropy in cache-sized blocks.
- ``operators``: where Triton is, if it is; kernels and operators made with it.
- ``fused_mlp``: the MLP's products with the activation and its derivative inside (Triton).
- ``fused_ce``: head and softcapped cross-entropy, the gradient in the place of the logits (Triton).
- ``fused_heads``: norm, gain and rotation of heads in one pass (Triton).
- ``fused_exclusive``: exclusive self attention and the gate of heads in one pass (Triton).
- ``fused_junction``: two streams' weighted sum and its norm in one pass (Triton).
- ``fused_lanes``: all that happens between two layers on two lanes in one pass (Triton).
- ``symmetric``: symmetric products, one triangle computed and mirrored (Triton).
- ``viterbi``: paths of least cost through a trellis, one program each (Triton).
"""
