"""How weights move: Muon for matrices, AdamW for the rest, one multiplier for all rates, one average.

- ``groups``: parameter name to optimizer, total and disjoint.
- ``muon``: orthogonalised momentum, batched over banks.
- ``shares``: the same with the matrices divided among ranks: in turn, or as Parallel Muon.
- ``adam``: torch's AdamW with the two groups' rates and decays.
- ``schedule``: rate and momentum as functions of progress; pure.
- ``ema``: running average of the weights.
- ``average``: means of snapshots of them.
"""
