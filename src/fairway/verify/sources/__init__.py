"""Where a submission can lie beside a plain folder: an archive, a commit.

- ``archive``: the folders inside a zip or tar file, nothing of which is extracted.
- ``repository``: the folders that a pull request adds to a clone, read from git's objects.
"""
