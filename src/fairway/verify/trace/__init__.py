"""The order of what a program does, by reading alone: what it learns from, what it scores, with which weights.

- ``values``: what is known of a value
- ``events``: what the program does, in order
- ``library``: what well-known calls do
- ``evaluate``: expressions
- ``calls``: calls
- ``walk``: statements
- ``switches``: settings that a run had, by logs and commands
- ``conduct``: what the order means: learning before scoring, scoring twice, calibration
"""
