"""Corpora to a dataset folder: manifest, tokenizer, training shards, validation shards.

- ``dataset``: the one entry point, and the check of a finished folder.
- ``card``: what is in a folder of shards, and what of validation occurs in training.
- ``embedded``: English prose that an installed package ships.
- ``hub``: the published FineWeb exports.
- ``local``: the user's own documents.
- ``sidecar``: whether published byte counts can be right.
"""
