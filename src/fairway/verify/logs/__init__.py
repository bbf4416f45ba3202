"""What a training log says, whatever script wrote it: scores, times, sizes, machines.

- ``asked``: what rules over logs have in common.
- ``denominator``: the bytes that a score was divided by.
- ``dump``: the source that a script prints at the head of its log.
- ``facts``: the facts of one log.
- ``lines``: the lines of a log, streamed.
- ``parse``: one log, read line by line into its facts.
- ``patterns``: the lines that scripts print, as patterns.
- ``read``: every log of a folder.
- ``roles``: which logs a claim rests on.
- ``run``: what one run of a script printed.
- ``setup``: lines about what a run was set to.
- ``sizes``: lines about bytes.
- ``times``: lines about seconds.
- ``verdicts``: what arithmetic over the logs of a submission says.
"""
