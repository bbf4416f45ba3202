"""Tokens on disk and how they become batches and bytes.

- ``shards``: the official file format, written and read.
- ``documents``: where documents begin, how long they are, how a packed row is cut.
- ``batches``: the endless streams of training rows, packed and contiguous.
- ``windows``: the same from windows in random order or in coprime strides.
- ``curriculum``: shards by the length of their documents.
- ``prefetch``: batches made beforehand by a thread.
- ``byte_counts``: how many bytes of text each token stands for.
- ``caseops``: capitals as operators, there and back, and the bytes that are left to count.
"""
