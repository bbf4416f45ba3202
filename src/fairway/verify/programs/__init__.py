"""The code of a submission, read and never run.

- ``program``: one program as a syntax tree, and all programs of a folder.
"""
