"""fairway: train, quantize, compress, evaluate and judge size- and time-capped language models.

The map, from the bottom up. Imports go down only; ``tests/architecture`` holds them to it.

- ``errors``: what a user can get wrong.
- ``spec``: what a run is, as frozen dataclasses.
- ``kernels``, ``runtime``: fast functions without a model around them; clock, events, ranks, seeds, files.
- ``model``, ``optim``, ``data``: the one forward; Muon and AdamW; shards, documents, bytes.
- ``train``, ``quant``, ``score``: loop until the budget says stop; weights to an artifact; the referee.
- ``main``, ``prepare``: the stages of a run over files; documents to tokens.
- ``launch``: the single file's command line, a whole run or a stage. Up to here everything is shipped.
- ``recipes``, ``fetch``, ``machine``: recipe files to a Recipe; corpora to datasets; walls and clocks around a stage.
  Workshop from here on.
- ``verify``, ``bundle``: the judge, which imports nothing of what it judges; the package as one file for one recipe.
- ``records``: the folder called a record, and its figures.
- ``probes``: an evaluation run again on changed documents, to prove that it is legal.
- ``cli``: ``fairway <verb>``.

Axis legend, the same everywhere: ``B`` document in a batch, ``T`` token in a row, ``N`` token in a flat
stream, ``D`` residual width, ``H`` query head, ``G`` key head, ``K`` head width, ``F`` MLP width,
``V`` vocabulary, ``R`` rank, ``O``/``I`` rows/columns of any weight, ``L`` layer, ``S`` slot (one run of
a layer; looped layers have several).
"""
