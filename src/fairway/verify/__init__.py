"""The judge: it reads a folder and says what holds, and imports nothing of what it judges.

- ``tree``: the files of anything that can be judged.
- ``sources``: archives and pull requests as trees.
- ``targets``: what the judge was pointed at, as folders to judge.
- ``submission``: what rules about anybody's submission look at.
- ``logs``, ``claims``, ``programs``: what a log, a submission.json and a script say.
- ``trace``: in what order a program learns and scores.
- ``legality``: what static rules about legality share.
- ``catalogue``: the rules that are asked of anybody's submission.
- ``facts``: a folder to facts, each with the file and line it stands on.
- ``strict_json``: JSON without NaN, duplicate keys or numbers too large, and its canonical form.
- ``schemas``: the JSON Schemas, by name.
- ``unpack``: a self-extracting program to the program inside it, by decoding alone.
- ``twin``: what can be seen of whether a readable file is the source of a packed program.
- ``sizes``: the four readings of the size rule.
- ``artifact``: the header of a model artifact, no weight decompressed.
- ``ledger``: the entries of a score ledger, with what breaks their chain.
- ``documents``: the table of documents, an independent count of text.
- ``outside``: what a watcher saw of the stages and of their machines.
- ``tracks``: the rules of a competition as data.
- ``leaderboard``: the chain of accepted records.
- ``statistics``: means, spreads, the one-sided Welch test.
- ``finding``: what a rule is and what it says.
- ``rules``: one file a rule.
- ``run``: every rule over the facts; a crash is a finding.
- ``summary``: facts and mechanical verdicts of one submission.
- ``report``: a verdict for people and for machines, and its exit status.
- ``formats``: verdicts as JSON, SARIF and Markdown.

A few constants and formulas stand here and in the code that is judged, on purpose: a mistake in one of the two
is then found by the other.
"""
