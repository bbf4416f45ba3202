"""The code of a submission, read and never run.

- ``program``: one program as a syntax tree, and all programs of a folder.
- ``read``: the programs of a folder, each read, unpacked and parsed once.
- ``unpacking``: a file to the program that it runs in the end.
- ``evaluate``: constant expressions of a self-extracting program to their values.
- ``codecs``: the decoders that a program may unpack itself with, bounded.
- ``parse``: text to its syntax tree, and which Python versions take it.
- ``fstrings``: f-strings as Python 3.12 allows them, and the same program without.
- ``nodes``: the nodes of a syntax tree, gathered once.
- ``names``: whole names of what a program calls, however it imported them.
- ``imports``: what a program imports, and who has it.
- ``effects``: what a program does to the world around it.
- ``verdicts``: what reading the programs answers with yes or no.
"""
