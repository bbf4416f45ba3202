"""What a submission says of itself, whatever its layout, under the canonical names.

- ``claim``: the claim of a submission.
- ``compare``: whether a claimed number is what the logs show.
- ``headline``: the scores that a claim rests on.
- ``lenient``: JSON of strangers, with what is wrong with it.
- ``predecessor``: what a submission must beat, and whether it does.
- ``quoted``: where a log holds a claimed number in a line that no pattern knows.
- ``reader``: from ``submission.json`` to the claim.
- ``sums``: facts of all logs together.
- ``tell``: how findings say where a claim stands.
- ``verdicts``: what arithmetic says of a claim.
"""
