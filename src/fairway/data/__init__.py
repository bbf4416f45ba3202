"""Tokens on disk and how they become batches and bytes.

- ``shards``: the official file format, written and read.
- ``documents``: where documents begin, how long they are, how a packed row is cut.
- ``batches``: the endless streams of training rows, packed and contiguous.
- ``byte_counts``: how many bytes of text each token stands for.
"""
