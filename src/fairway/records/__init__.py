"""The folder called a record, made from the files of a run: no number in it was typed by a person.

- ``layout``: the names of a run's and a record's files.
- ``stage_log``: the events of one stage, field by field.
- ``ledgers``: the spans that the final evaluation scored.
- ``facts``: the numbers of a run, read from its files and held against each other.
- ``statistics``: mean and sample standard deviation.
- ``code``: the shipped modules as one archive that is the same every time, and what they require.
- ``log``: the log of a seed in the words of the published ones.
- ``compliance``: what the track allows beside what the run took.
- ``submission``: submission.json.
- ``style``: how a figure looks, and that the same facts give the same bytes.
- ``figures``: five pictures, each a function of facts.
- ``readme``: README.md.
- ``assemble``: puts it all together beside its place, then renames.
"""
