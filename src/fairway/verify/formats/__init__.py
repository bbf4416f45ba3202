"""Verdicts for machines and for pull requests.

- ``escape``: text of strangers, made harmless for a terminal and for Markdown.
- ``objects``: JSON by ``schemas/check.schema.json``.
- ``sarif``: SARIF 2.1.0, for code scanning.
- ``markdown``: a comment that a bot can post.
- ``explanation``: one rule in words.
"""
