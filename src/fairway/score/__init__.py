"""How good the artifact is: the referee scores, the methods only predict.

- ``bpb``: float64 sums of nats, bytes and tokens; bits per byte.
- ``windows``: which targets are predicted from which inputs, as pure functions of document lengths.
- ``ledger``: what was scored and learned from, in order, as a hash-chained file.
- ``referee``: owns the tokens, checks the plan, asks for predictions, scores, and only then shows targets.
- ``flat``: each document in rows, each row scored whole.
- ``sliding``: overlapping windows over the whole stream, only the new end of each scored.
- ``adapt``: low-rank adapters for each document, one step after each scored chunk.
- ``phases``: the same, and between documents SGD on the base over what was scored.
- ``sgd``: SGD on the weights that all documents share.
- ``chunks``: sliding windows, and after each chunk of the stream SGD over what it scored.
- ``shared``: the referee on several processes, which take batches as they get free.
- ``evaluate``: one evaluation from model and tokens to a score, events and a ledger.
"""
