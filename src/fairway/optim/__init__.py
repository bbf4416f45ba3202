"""How weights move: Muon for matrices, AdamW for the rest, one multiplier for all rates, one average.

- ``groups``: parameter name to optimizer, total and disjoint.
- ``muon``: orthogonalised momentum, batched over banks.
- ``adam``: torch's AdamW with the two groups' rates and decays.
- ``schedule``: rate and momentum as functions of progress; pure.
- ``ema``: running average of the weights.
"""
