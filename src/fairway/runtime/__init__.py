"""What a run needs from the machine: the thin edge around the pure core.

- ``clock``: the budget in seconds, and a stopwatch that pauses.
- ``events``: the run's log, one JSON object a line, and its lines for people.
- ``lines``: a text file that grows line by line, and gets its name when it is whole.
- ``ranks``: the processes of one run; the only reader of environment variables.
- ``seeding``: named random generators and the number of threads.
- ``tensors``: tensors and text to files, whole or not at all.
"""
