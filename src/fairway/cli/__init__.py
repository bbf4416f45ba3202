"""``fairway <verb>``: parse, call, exit. One file a verb.

- ``__main__``: the list of verbs, and what a failure prints and returns.
- ``console``: lines for a log, progress for a terminal.
- ``verdicts``: a verdict on the screen.
- ``parallel``: many folders at once.
- ``runs``: a resolved recipe and a seed to a Run.
- ``bundle``: the one file that ships.
- ``fetch``, ``train``, ``calibrate``, ``rotate_gptq``, ``compress``, ``evaluate``: the stages of the pipeline.
- ``verify``, ``record``, ``check``: judge one seed, assemble a record, judge any folder.
- ``probe``, ``probe_script``: prove by running it that an evaluation is legal, a recipe's or a stranger's script's.
- ``run``, ``container``: the whole pipeline, here or in an image; what docker or podman is told.
- ``watch``, ``doctor``, ``reproduce``: a command from outside; what a machine can do; a record run again.
- ``attest``, ``card``: where a record comes from; what is in a folder of shards.
- ``recipe``, ``inspect``, ``figures``: show a recipe, an artifact, a run.
- ``recipe_plan``: what a cap buys.
- ``study``: what trained weights show.
- ``smoke``: recipes in small, side by side.
"""
