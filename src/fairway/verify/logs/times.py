"""Lines about seconds: training, calibration, evaluation, and what comes before it."""

from collections.abc import Mapping

from fairway.verify.logs import patterns as p
from fairway.verify.logs.run import Run


def stop(run: Run, number: int, taken: float, step: str | None) -> None:
    """Take the clock at which the loop of training stopped."""
    run.stopped_s = run.train_s = taken
    run.lines["train_s"] = number
    if step is not None:
        run.steps = int(step)
        run.lines["steps"] = number


def read_time(run: Run, number: int, text: str, settings: Mapping[str, str]) -> None:
    """Add what a line says about the seconds of a phase to a run."""
    if (ended := p.STOP.match(text)) is not None:
        stop(run, number, p.seconds(ended[2], ended[3]), ended["step"])
    elif (whole := p.TRAINED_ALL.match(text)) is not None:
        stop(run, number, float(whole["n"]), None)
    elif (trained := p.TRAINED.match(text)) is not None:
        run.stated_s = p.seconds(trained[1], trained[2])
        run.lines.setdefault("train_s", number)
        if trained["step"] is not None:
            run.steps = int(trained["step"])
    elif (stopped := p.STOPPED_AT.match(text)) is not None:
        run.steps = int(stopped["step"])
    elif (total := p.TOTAL_EVAL.match(text)) is not None:
        run.total_eval_s = p.seconds(total[1], total[2])
        run.lines["total_eval_s"] = number
    elif (warm := p.WARM_UP.search(text)) is not None:
        run.warmup_s = p.seconds(warm[1], warm[2])
        run.lines["ttt_warmup_s"] = number
    elif (unpacked := p.DECOMPRESSED.match(text)) is not None:
        run.decompress_s = p.seconds(unpacked[1], unpacked[2])
        run.lines["decompress_s"] = number
    elif (collected := p.COLLECTED.match(text)) is not None:
        run.calibration[collected["what"].lower()] = p.seconds(collected[2], collected[3])
        run.lines["calibration_s"] = number
    elif p.SELF_GENERATED.match(text) is not None:
        run.calibrates_on_itself = True
    elif (ahead := p.PRECOMPUTED.match(text)) is not None:
        run.hinted_s += p.seconds(ahead[2], ahead[3])
        if settings.get("ngram_hint_precompute_outside", "").lower() in ("1", "true"):
            _hints_ahead(run, number)
    elif p.TIMER_BEGINS.match(text) is not None:
        _hints_ahead(run, number)
    elif (adapted := p.ADAPTED.match(text)) is not None:
        _ahead(run, number, p.seconds(adapted[1], adapted[2]))
    elif (process := p.PROCESS.match(text)) is not None:
        run.process_s = 60.0 * int(process["minutes"] or 0) + float(process["seconds"])
        run.lines["process_s"] = number


def _hints_ahead(run: Run, number: int) -> None:
    """What was built from validation tokens so far was built before the timer of the evaluation began."""
    if run.hinted_s > 0.0:
        _ahead(run, number, run.hinted_s)
        run.hinted_s = 0.0


def _ahead(run: Run, number: int, taken: float) -> None:
    run.precompute_s = round((run.precompute_s or 0.0) + taken, 6)
    run.lines["precompute_s"] = number
