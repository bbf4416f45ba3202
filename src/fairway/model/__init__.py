"""The one forward, which training, calibration, evaluation and adaptation share.

- ``gpt``: embedding, blocks, head.
- ``parameters``: every parameter's name, shape and neutral value.
- ``weights``: slices of the parameters by layer, and the context of a layer's run.
- ``entry``: what the first layer reads: tokens, hashes of runs, smear.
- ``ahead``: the token after the next, learned beside.
- ``history``: layers that read all layers before them.
- ``block``: one layer on one residual stream or on two lanes.
- ``lanes``: two lanes with fused junctions between layers.
- ``attention``: projections, rotary, gains, exclusive self attention, gates of heads.
- ``mlp``: up, leaky square, down.
- ``rotary``: the angles of each position.
- ``depth``: which layer runs when; loops and skips (pure).
- ``hooks``: where adapters, calibration and rotation enter.
- ``adapters``: low-rank adapters of each document in a batch.
- ``init``: parameter to initialiser, total.
- ``banks``: banks to single matrices and back.
- ``members``: two sets of weights in one mapping of names.
"""
