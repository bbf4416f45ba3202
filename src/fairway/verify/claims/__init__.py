"""What a submission says of itself, whatever its layout, under the canonical names.

- ``claim``: the claim of a submission.
"""
