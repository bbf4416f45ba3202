"""The folder called a record, made from the files of a run: no number in it was typed by a person.

- ``layout``: the names of a run's and a record's files.
- ``facts``: the numbers of a run, read from its events, ledgers and manifest.
- ``statistics``: mean and sample standard deviation.
- ``code``: the shipped modules as one archive that is the same every time, and what they require.
- ``log``: the log of a seed in the words of the published ones.
- ``compliance``: what the track allows beside what the run took.
- ``submission``: submission.json.
- ``figures``: five pictures, each a function of facts; ``style`` says how they look.
- ``readme``: README.md.
- ``assemble``: puts it all together beside its place, then renames.
"""
