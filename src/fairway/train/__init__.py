"""From initial weights to trained ones, within a budget of seconds.

- ``step``: one optimizer step: accumulate, reduce over ranks, clip, move.
- ``loop``: warm-up and reset, steps until the budget says stop, late replay, average.
- ``rounding``: matrices rounded in the forward, late in training.
- ``freezing``: layers that stop learning before the others do.
- ``checkpoint``: a model to a file and back.
"""
