"""In what order a program learns and scores, by reading alone.

- ``values``: what is known of a value: its data, what made it, its constant.
- ``events``: what the program does, in order.
- ``library``: what well-known calls do.
- ``switches``: the settings of a run, by logs and commands.
- ``evaluate``: expressions.
- ``calls``: calls, followed into the program's own functions.
- ``walk``: statements.
- ``conduct``: what the order means: learning before scoring, scoring again.
- ``ask``: a rule's question to a folder's programs, and to what the folder says of itself.
"""
