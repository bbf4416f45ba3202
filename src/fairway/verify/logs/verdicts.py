"""What arithmetic over the logs of a submission says: mechanical verdicts, and the facts of one log as a table row."""

import lzma
from collections.abc import Iterable, Sequence
from typing import Any

from fairway.verify.logs.facts import LogFacts
from fairway.verify.programs.program import Program
from fairway.verify.submission import Submission
from fairway.verify.tracks import Track, ValidationSet

ONE_SECOND_S = 1.0


def facts(log: LogFacts) -> dict[str, Any]:
    """The facts of one log under the names of the table of expectations; None where the log does not say."""
    names = (
        "role duplicate_of runs_in_file seed_logged seed_in_name final_label final_val_bpb final_val_loss bytes_total "
        "bytes_model bytes_code bytes_code_uncompressed train_s steps step_ms eval_s eval_sum_s ttt_warmup_s "
        "calibration_s decompress_s precompute_s world_size"
    ).split()
    row: dict[str, Any] = {"log": log.file, **{name: getattr(log, name) for name in names}}
    return {**row, "gpus": dict(log.gpus) or None, "val_tokens": log.val_tokens}


def verdicts(submission: Submission) -> dict[str, bool | None]:
    """True, false, or None where the logs do not bear on the question. Only logs of seeds count."""
    logs = list(submission.seed_logs.values())
    budget_s = submission.track.train.budget_s
    eval_budget_s = submission.track.eval.budget_s
    return {
        **_code(submission, logs),
        **_bytes(submission, logs),
        **_coverage(submission.track, logs),
        "train_le_600_strict": _every(log.train_s <= budget_s for log in logs if log.train_s is not None),
        "train_le_600_one_step": _every(
            log.train_s <= budget_s + (log.step_ms or 0.0) / 1000.0 for log in logs if log.train_s is not None
        ),
        "train_le_601": _every(log.train_s <= budget_s + ONE_SECOND_S for log in logs if log.train_s is not None),
        "eval_le_600": _every(log.eval_s <= eval_budget_s for log in logs if log.eval_s is not None),
        "eval_sum_le_600": _every(log.eval_sum_s <= eval_budget_s for log in logs if log.eval_sum_s is not None),
        "eval_plus_warmup_le_600": _every(
            log.eval_s + log.ttt_warmup_s <= eval_budget_s
            for log in _scoring(logs)
            if log.eval_s is not None and log.ttt_warmup_s is not None
        ),
        "train_plus_gptq_le_600": _every(
            log.train_s + log.calibration_s <= budget_s
            for log in logs
            if log.train_s is not None and log.calibration_s is not None
        ),
        "log_seed_matches_name": _every(
            log.seed_logged == log.seed_in_name
            for log in logs
            if log.seed_logged is not None and log.seed_in_name is not None
        ),
        "no_duplicate_logs": len({log.sha256 for log in submission.logs}) == len(submission.logs)
        if submission.logs
        else None,
        "hardware_8xh100": _every(on_budget_hardware(submission.track, log) for log in logs if log.gpus),
    }


def usual_tokens(validation: ValidationSet, tokens: int) -> bool:
    """Whether a log's count of validation tokens is a usual one, cut to whole sequences of some power of two."""
    counts = validation.usual or validation.targets
    lengths = [1 << power for power in range(17)]
    return any(tokens == count // length * length for count in counts for length in lengths)


def on_budget_hardware(track: Track, log: LogFacts) -> bool:
    """Whether the machines that a log lists are those that the budgets are meant for; the table is printed per run."""
    wanted = track.hardware
    device, world = ("H100", 8) if wanted is None else (wanted.device, wanted.world)
    listed = sum(log.gpus.values())
    alike = all(device in name for name in log.gpus)
    return alike and listed % world == 0 and (log.world_size is None or log.world_size == world)


def recounted_bytes(submission: Submission, log: LogFacts) -> int | None:
    """Model bytes of a log plus the code that the folder ships for it; None where either is unknown."""
    main = submission.programs.main
    model = model_bytes(log)
    return None if main is None or model is None else model + shipped_code_bytes(submission)


def model_bytes(log: LogFacts) -> int | None:
    """Bytes of the compressed model as a log tells them, or as they follow from total and code."""
    if log.bytes_model is not None or log.bytes_total is None or log.bytes_code is None:
        return log.bytes_model
    return log.bytes_total - log.bytes_code


def shipped_code_bytes(submission: Submission) -> int:
    """Bytes of the main program and of the local code that it reaches."""
    main, files = submission.programs.main, submission.tree.files
    named = {main.file} if main is not None else set()
    return sum(files[file].size_bytes for file in {*named, *submission.programs.reached} if file in files)


def packed_bytes(program: Program) -> int:
    """Size of a program as a compressor leaves it; what a shipped self-extractor would hold at the least."""
    form = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}]
    return min(len(program.shipped), len(lzma.compress(program.text.encode(), format=lzma.FORMAT_RAW, filters=form)))


def _code(submission: Submission, logs: Sequence[LogFacts]) -> dict[str, bool | None]:
    main = submission.programs.main
    shipped = None if main is None else len(main.shipped)
    dumped = [log for log in logs if log.dump_bytes is not None]
    return {
        "log_code_size_matches_dump": _every(log.bytes_code_uncompressed in (None, log.dump_bytes) for log in dumped),
        "log_code_size_matches_file": None
        if shipped is None
        else _every(log.bytes_code_uncompressed == shipped for log in logs if log.bytes_code_uncompressed is not None),
        "log_source_equals_script": _every(
            log.dump_of is not None and not log.dump_garbled
            for log in logs
            if log.dump_bytes is not None or log.dump_garbled
        ),
    }


def _bytes(submission: Submission, logs: Sequence[LogFacts]) -> dict[str, bool | None]:
    cap = submission.track.size.cap_bytes
    main = submission.programs.main
    compressed = [
        (log, model)
        for log in logs
        if (model := model_bytes(log)) is not None and log.bytes_code != log.bytes_code_uncompressed
    ]
    return {
        "log_total_is_code_plus_model": _every(
            log.bytes_total == log.bytes_code + log.bytes_model
            for log in logs
            if log.bytes_total is not None and log.bytes_code is not None and log.bytes_model is not None
        ),
        "log_bytes_under_cap": _every(log.bytes_total <= cap for log in logs if log.bytes_total is not None),
        "recomputed_bytes_under_cap": _every(
            recounted <= cap for log in logs if (recounted := recounted_bytes(submission, log)) is not None
        ),
        "recomputed_bytes_compressed_code_under_cap": None
        if main is None
        else _every(model + packed_bytes(main) <= cap for _, model in compressed),
    }


def _coverage(track: Track, logs: Sequence[LogFacts]) -> dict[str, bool | None]:
    validation = track.validation
    counted = [log.val_tokens for log in logs if log.val_tokens is not None]
    return {
        "full_validation": _every(
            log.partial is None and not _too_few(validation, log) for log in logs if log.final_val_bpb is not None
        ),
        "val_tokens_as_usual": None
        if validation is None
        else _every(usual_tokens(validation, tokens) for tokens in counted),
    }


def _too_few(validation: ValidationSet | None, log: LogFacts) -> bool:
    """Whether a log counts fewer documents than the set has, and does not count its tokens."""
    if validation is None or log.documents is None or log.documents >= validation.documents:
        return False
    return log.val_tokens is None or not usual_tokens(validation, log.val_tokens)


def _scoring(logs: Sequence[LogFacts]) -> Sequence[LogFacts]:
    """The logs whose evaluation is claimed: evaluations of their own where a folder holds such."""
    return [log for log in logs if log.role == "seed_eval"] or logs


def _every(answers: Iterable[bool]) -> bool | None:
    found = list(answers)
    return all(found) if found else None
