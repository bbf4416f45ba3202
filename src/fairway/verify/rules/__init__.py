"""One file a rule, each with ``RULE``.

Asked of fairway's own records, and listed in ``run.RULES``:

- ``complete``: every file, event and field that is asked for is there and can be read.
- ``digests``: the bytes are those that were signed.
- ``size_cap``: code and artifact together.
- ``train_budget``, ``eval_budget``: seconds against the track.
- ``every_target_scored_once``, ``scored_before_learned``, ``ledger_chain``: the ledger, three questions.
- ``fair_method``: whether recipe, ledger or claim says of itself that its method is invalid.
- ``bytes_recounted``: bytes of text, counted from the documents.
- ``disjoint_data``: no document on both sides of the split.
- ``seeds_distinct``: as many seeds as the track asks for, none a copy.
- ``claims_follow_from_logs``: submission.json and the table of the README, recomputed.
- ``environment``, ``outside_clock``, ``isolation``: one environment, both clocks, what calibration and
  evaluation could see.
- ``probes``: what trials of the evaluation showed, judged again from their numbers.
- ``provenance``: the statement of where the record comes from, and its signature.
- ``recipe_that_ran``: one code and one recipe, in every stage of every seed.
- ``one_program``: what ran can be unpacked, and the readable file beside it is what it was made from.
- ``significance``: is it better than the record before it.

Asked of anybody's submission, and listed in ``catalogue.SUBMISSION_RULES``:

- ``one_new_folder``, ``folder_name``: what a pull request may add, and what it is called.
- ``required_files``, ``stray_files``, ``links``, ``folder_size``: what lies in the folder.
- ``program_compiles``, ``program_readable``, ``program_trains``, ``code_in_one_file``: what the program is.
- ``imports_resolve``, ``commands_declared``, ``paths_inside``, ``no_network``, ``safe_loading``: its needs.
- ``submission_json``, ``claim_coherent``: whether the claim can be read, and does not contradict itself.
- ``claimed_score``, ``claimed_spread``, ``claimed_loss``, ``claimed_times``, ``claimed_seeds``: the claim against logs.
- ``claimed_bytes``, ``claimed_code_size``: the claim against logs and files.
- ``readme_states_claim``, ``leaderboard_states_claim``: the claim against what else is said of it.
- ``submission_size``: code and model in four readings of the rule.
- ``train_time``, ``eval_time``, ``log_hardware``: seconds and machine against the track.
- ``byte_denominator``, ``validation_coverage``: by how many bytes a score was divided, and how much was scored.
- ``log_sum``, ``log_source``: the sizes and the program that a log tells of.
- ``log_copies``, ``log_runs``, ``one_configuration``: whether the logs are of as many runs of one program.
- ``seeds_enough``, ``predecessor_beaten``: how many seeds, and whether they beat the record before.
- ``pre_quant_ttt``, ``adapt_then_score``, ``slot``: whether something learns from targets before they are scored.
- ``last_epoch_score``, ``rescore_two_pass``: whether a target is scored more than once.
- ``calibration_in_eval``, ``val_in_training``: whether training and evaluation keep to their own data.
- ``target_keyed_cache``, ``target_reading_gate``, ``ppm_byte_spread``: whether what is scored with is a distribution
  that was fixed before the token was read.
- ``byte_tables``, ``lossy_text``: whether the bytes are those of the documents.
- ``partial_validation_code``, ``train_val_overlap``: whether the validation set is whole, and apart.
- ``ledger_absent``: whether the evidence of a record of fairway's own is there.

A rule imports ``facts`` or ``submission``, ``finding`` and what they stand on, never another rule.
"""
