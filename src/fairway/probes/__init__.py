"""Dynamic proof that an evaluation is legal: the real path run again on changed streams, and what moved.

- ``stream``: the documents that an evaluation is shown, and the changes that a probe makes to them.
- ``subject``: what is probed: something that evaluates a stream and tells what it did; the real referee as one.
- ``result``: one verdict a probe, with number, limit and sentence; all of them as JSON.
"""
