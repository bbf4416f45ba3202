"""Recipe files to a Recipe: people write deltas, machines read the whole.

- ``locate``: a recipe's name to its file, its data to a folder.
- ``load``: the chain of deltas to one validated Recipe, with the origin of each value.
- ``mistakes``: what is wrong with a recipe, in one line.
- ``explain``: show and diff as text.
- ``catalogue``: every recipe with its size, and whether it has run.
- ``plan``: what a cap buys: steps, bits, bytes and quantization tax by width, depth and kind of rounding.
- ``tax``: quantization tax by the steps, and the runs that its coefficients come from.
- ``aliases``: a published command to a recipe.
- ``reduce``: the same recipe at a size that a CPU trains in seconds.
- ``schema``: the JSON schema of ``recipe.json``.
"""
