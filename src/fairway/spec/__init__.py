"""What a run is: frozen dataclasses, standard library only.

- ``recipe``: the whole; ``lineage`` says where it comes from.
- ``data``: corpus, tokenizer, split.
- ``model``: sizes of the one forward, and which mechanisms it has.
- ``mechanisms``: those that some models have and others lack.
- ``optim``: rates, decay, schedule, averaging.
- ``train``: batch, steps, seconds, replay.
- ``quant``: grid by role, rounding, rotation, codec.
- ``score``: context and method of evaluation.
- ``roles``: parameter name to role, total.

Each class refuses what cannot be with ``ValueError``; ``fairway.recipes`` turns that into one line with the
file that set the value. ``__pydantic_config__`` is a plain dict that makes outside validation strict.
"""
