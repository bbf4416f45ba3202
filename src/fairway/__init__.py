"""fairway: train, quantize, compress, evaluate and judge size- and time-capped language models.

The map, from the bottom up. Imports go down only; ``tests/architecture`` holds them to it.

- ``errors``: what a user can get wrong.
- ``spec``: what a run is, as frozen dataclasses.
- ``kernels``, ``runtime``: fast functions beside their references; clock, events, ranks, seeds.
- ``model``, ``optim``, ``data``: the one forward; Muon and AdamW; shards, documents, bytes.
- ``train``, ``quant``, ``score``: loop until the budget says stop; weights to an artifact; the referee.
- ``stages``: one function a stage of the pipeline, over files.
- ``recipes``, ``fetch``: recipe files to a Recipe; corpora to shards.  Workshop from here on.
- ``verify``: the judge, which imports nothing of what it judges.
- ``records``: assembles the folder called a record.
- ``cli``: ``fairway <verb>``.

Axis legend, the same everywhere: ``B`` document in a batch, ``T`` token in a row, ``N`` token in a flat
stream, ``D`` residual width, ``H`` query head, ``G`` key head, ``K`` head width, ``F`` MLP width,
``V`` vocabulary, ``R`` rank, ``O``/``I`` rows/columns of any weight, ``L`` layer, ``S`` slot (one run of
a layer; looped layers have several).
"""
