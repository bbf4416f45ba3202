"""What a run needs from the machine: the thin edge around the pure core.

- ``clock``: the budget in seconds, and a stopwatch that pauses.
- ``events``: the run's log, one JSON object a line, and its lines for people.
- ``files``: files that are there whole or not at all.
- ``lines``: a text file that grows line by line, and gets its name when it is whole.
- ``ranks``: the processes of one run; the only reader of environment variables.
- ``seeding``: named random generators and the number of threads.
- ``tensors``: tensors to files and back.
"""
