"""The folder called a record, made from the files of a run: no number in it was typed by a person.

- ``layout``: the names of a run's and a record's files.
- ``stage_log``: the events of one stage, field by field.
- ``ledgers``: the spans that the final evaluation scored.
- ``facts``: the numbers of a run, read from its files and held against each other.
- ``statistics``: mean and sample standard deviation.
- ``code``: which modules are shipped, what names them, and what a program requires.
- ``log``: the log of a seed, as the file prints it when it runs whole.
- ``compliance``: what the track allows beside what the run took.
- ``submission``: submission.json.
- ``style``: how a figure looks, and that the same facts give the same bytes.
- ``figures``: five pictures, each a function of facts.
- ``readme``: README.md.
- ``outside``: what the watcher saw of each stage, and of the machines they ran on.
- ``probes``: what probes found of each seed's evaluation, as the README shows it.
- ``reproduce``: a record run again, and whether the difference is what seeds make.
- ``assemble``: puts it all together beside its place, then renames.
- ``attest``: where a record comes from, as statements that others' tools read.
- ``checkout``: the folder into a clone of the challenge repository, and the proof that it is all that changes.
- ``pull_request``: the text of the pull request, from the judged folder.
- ``smoke``: a recipe's whole pipeline in small, from bundle to verdict.
- ``images``: images of the environment, and which build of each is meant.
"""
