"""Dynamic proof that an evaluation is legal: the real path run again on changed streams, and what moved.

- ``stream``: the documents that an evaluation is shown, and the changes that a probe makes to them.
- ``subject``: what is probed: something that evaluates a stream and tells what it did; the real referee as one.
- ``methods``: the methods of evaluation that recipes name, as subjects, moving and standing still.
- ``compare``: where probes look, and which losses must stay what they were.
- ``noise``: A/A, the noise floor.
- ``flips``: future-flip, self-flip, truncation.
- ``boundary``: no document moves the score of another before an update is due to it.
- ``sums``: sum-to-one, uniform stream.
- ``plans``: order and accounts.
- ``rates``: updates of size zero.
- ``suite``: all probes over one subject, in order.
- ``run``: every probe on one artifact, restored as for its evaluation.
- ``result``: one verdict a probe, with number, limit and sentence; all of them as JSON.
"""
