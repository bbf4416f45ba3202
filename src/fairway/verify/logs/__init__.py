"""What a training log says, whatever script wrote it: scores, times, sizes, machines.

- ``facts``: the facts of one log.
"""
