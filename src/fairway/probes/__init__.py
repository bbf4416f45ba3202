"""Dynamic proof that an evaluation is legal: the real path run again on changed streams, and what moved.

- ``stream``: the documents that an evaluation is shown, and the changes that a probe makes to them.
- ``subject``: what is probed: something that evaluates a stream and tells what it did; the real referee as one.
- ``methods``: the methods of evaluation that recipes name, as subjects, moving and standing still.
- ``compare``: where probes look, and which losses must stay what they were.
- ``noise``: A/A, the noise floor.
- ``flips``: future-flip, self-flip, truncation.
- ``boundary``: no document moves the score of another before an update is due to it.
- ``sums``: sum-to-one, uniform stream.
- ``plans``: order and accounts.
- ``rates``: updates of size zero.
- ``suite``: all probes over one subject, in order.
- ``run``: every probe on one artifact, restored as for its evaluation.
- ``script``: a stranger's script on made-up data, run several times inside walls, and what its losses show.
- ``script_data``: a made-up dataset in the official format, of which every place can be told by two neighbours.
- ``capture``: around a script, inside the walls: notes each loss on validation targets and what becomes of it.
- ``trail``: which captured losses a tensor is made of, through views, sums, masks and choices.
- ``stand_in``: a CPU in the place of a graphics card, for scripts that ask for one and would run without.
- ``align``: which position of the made-up stream each captured target is.
- ``script_passes``: what a captured run was: passes over the stream, and the one whose number is the score.
- ``script_findings``: what the runs show, one verdict a question.
- ``result``: one verdict a probe, with number, limit and sentence; all of them as JSON.
- ``bitstream``: documents as code in a file, with what a decoder must know beside artifact and recipe.
- ``rangecode``: predictions as the model of a range coder, and the order in which targets can be decoded.
- ``excerpt``: which beginnings of documents are encoded, few enough to decode and enough to learn from.
- ``decode``: the decode proof: documents to code by the evaluator's predictions, and back in a fresh process.
- ``decoder``: what that process runs.
"""
