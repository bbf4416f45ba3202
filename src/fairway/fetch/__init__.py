"""Corpora to a dataset folder: manifest, tokenizer, training shards, validation shards.

- ``dataset``: the one entry point, and the check of a finished folder.
- ``embedded``: English prose that an installed package ships.
- ``hub``: the published FineWeb exports.
- ``local``: the user's own documents.
- ``sidecar``: whether published byte counts can be right.
"""
