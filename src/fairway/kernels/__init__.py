"""Fast tensor functions without a model around them; each has a slow definition in its test.

- ``varlen_attention``: causal attention over dense rows and over documents packed in one flat row.
- ``polar``: the nearest orthogonal matrix, nearly (Newton-Schulz).
- ``hadamard``: seeded orthogonal matrices with flat entries.
- ``softcap_ce``: softcapped cross-entropy in cache-sized blocks.
"""
