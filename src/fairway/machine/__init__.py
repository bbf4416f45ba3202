"""The machine around a stage: what it is, what it lets a program see, how long it took by a clock of its own.

- ``environment``: packages, locks, processors, driver, variables and revision, as one record that can be compared.
- ``sandbox``: the walls around a program: no network, the files that were named, room of its own.
- ``limits``: how much a program may take; a watcher outside ends it when it takes more.
- ``watch``: run one command inside walls and limits, and write down what an outsider saw of it.
- ``doctor``: whether this machine is able to reproduce a recipe, a line for each thing that a run needs.
"""
