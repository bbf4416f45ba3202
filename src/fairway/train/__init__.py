"""From initial weights to trained ones, within a budget of seconds.

- ``step``: one optimizer step: accumulate, reduce over ranks, clip, move.
- ``loop``: warm-up and reset, steps until the budget says stop, late replay, average.
- ``compiling``: the compiler's settings, what it took, and steps that had to compile again.
- ``regions``: blocks compiled by themselves, a graph for each kind.
- ``rounding``: matrices rounded in the forward, late in training.
- ``freezing``: layers that stop learning before the others do.
- ``symmetry``: how symmetric Q and O are.
- ``checkpoint``: a model to a file and back.
"""
