"""How good the artifact is: the referee scores, the methods only predict.

- ``bpb``: float64 sums of nats, bytes and tokens; bits per byte.
- ``windows``: which targets are predicted from which inputs, as pure functions of document lengths.
- ``ledger``: what was scored and learned from, in order, as a hash-chained file.
- ``steps``: what a method says beforehand that it will do.
- ``budget``: the seconds of an evaluation against its budget, and a forecast of them.
- ``referee``: owns the tokens, checks the plan, asks for predictions, scores, and only then shows targets.
- ``flat``: each document in rows, each row scored whole.
- ``sliding``: overlapping windows over the whole stream, only the new end of each scored.
- ``ensemble``: two models asked alike, and the mean of their logits.
- ``adapt``: low-rank adapters for each document, one step after each scored chunk.
- ``phases``: the same, and between documents SGD on the base over what was scored.
- ``sgd``: SGD on the weights that all documents share.
- ``chunks``: sliding windows, and after each chunk of the stream SGD over what it scored.
- ``passes``: passes of an optimizer over part of the weights, after each chunk is scored or, invalid, before.
- ``invalid``: the referee of what learns before it is scored, which says so on the ledger.
- ``shared``: the referee on several processes, which take batches as they get free.
- ``evaluate``: one evaluation from model and tokens to a score, events and a ledger.
"""
