"""One log, read line by line into its facts."""

import re
from typing import BinaryIO

from fairway.verify.logs import patterns as p
from fairway.verify.logs.dump import Dump
from fairway.verify.logs.facts import ByteCount, LogFacts, ScoreLine
from fairway.verify.logs.lines import Lines, bare
from fairway.verify.logs.run import (
    MOST_LINES,
    Run,
    calibration_seconds,
    eval_seconds,
    final_score,
    model_bytes,
    total_bytes,
)

MOST_GPUS = 64
LONGEST_LABEL = 80
MOST_SETTINGS = 600
MOST_STEPS = 20_000
_HINTS = (
    "step", "train", "total", "udget", "erialized", "ode", "eed", "world", "okens", "docs", "GPU", "NVIDIA", "compile",
    "ecompress", "gptq", "GPTQ", "precompute", "artifact", "bytes", "limited", "subset", "params", "hess", "Hess",
    "Train", "top", "World", "rtifact", "real", "quant", "timer",
)  # fmt: skip

_HEADER = re.compile(r"Hyperparameters:|Running P(?:ython|yTorch)\b")


class Reader:
    """Takes the lines of one log, of whose runs the last that has a score counts; ``facts`` tells what they say."""

    def __init__(self) -> None:
        self.run = Run()
        self._earlier = self.run
        """The last run with a score before the one that is read."""
        self._header = True
        """Whether training has not begun, so that what is printed is set and not measured."""
        self.runs = 1
        self.dump = Dump()
        self.seed: tuple[int, int] | None = None
        self.world: tuple[int, int] | None = None
        self.tokens: tuple[int, int] | None = None
        self.documents: tuple[int, int] | None = None
        self.gpus: dict[str, int] = {}
        self.gpu_line: int | None = None
        self.settings: dict[str, str] = {}
        self.code_sha256: str | None = None

    def feed(self, number: int, line: str) -> None:
        """One line, without prefixes."""
        if self.dump.feed(number, line) or not line:
            return
        if "bpb" in line or "BPB" in line:
            self._score(number, line)
        if line[0] in "sSiI0123456789" and "/" in line or line.startswith("step"):
            self._step(number, line)
        if ":" in line or "=" in line:
            self._setting(line)
        if any(hint in line for hint in _HINTS):
            self._size(number, line)
            self._time(number, line)
            self._setup(number, line)
        if "limited" in line or "ubset" in line or "first " in line or "val_" in line:
            if p.PARTIAL.search(line) and self.run.partial is None:
                self.run.partial = (line.strip()[:120], number)

    def _score(self, number: int, line: str) -> None:
        self._count(number, line)
        bpb = p.BPB.search(line)
        loss = p.LOSS.search(line)
        if bpb is None or loss is None or loss.start() > bpb.start():
            self._score_alone(number, line)
            return
        words = line[: loss.start()].split()
        if not words or not p.LABEL.match(words[0]) or p.STEP.match(line):
            return
        label = " ".join(word for word in words if not p.ARGUMENT.fullmatch(word)).rstrip(":")
        if not label or len(label) > LONGEST_LABEL:
            return
        spent = p.SPENT.search(line, loss.start())
        eval_s = None if spent is None else p.seconds(spent[1], spent[2])
        key = (label, bpb["n"], "" if spent is None else spent[0])
        run = self.run
        if key in run.named:
            return
        if len(run.named) < MOST_LINES:
            run.named.add(key)
        if eval_s is not None and not p.PROGRESS.search(label):
            run.times.append((label, bpb["n"], eval_s))
        nats, bits = p.real(loss["n"]), p.real(bpb["n"])
        if nats is None or bits is None:
            return
        main = p.MAIN.fullmatch(label) is not None or p.DIAGNOSTIC.search(label) is None
        (run.scores if main else run.diagnostics).append(
            ScoreLine(label=label, val_loss=nats, val_bpb=bits, digits=_digits(bpb["n"]), eval_s=eval_s, line=number)
        )

    def _score_alone(self, number: int, line: str) -> None:
        text = line.strip()
        found = p.SUMMARY_BPB.match(text) or p.BPB_ALONE.match(text)
        if found is None or (bits := p.real(found["n"])) is None:
            return
        label = found.groupdict().get("label") or "val_bpb"
        if len(label) <= LONGEST_LABEL and not p.DIAGNOSTIC.search(label):
            self.run.alone.append(
                ScoreLine(
                    label=label, val_loss=None, val_bpb=bits, digits=_digits(found["n"]), eval_s=None, line=number
                )
            )

    def _count(self, number: int, line: str) -> None:
        counted = p.BYTES.search(line)
        if counted is None or "bpb" not in line:
            return
        tokens = p.ANY_TOKENS.search(line)
        scores = (p.real(found["n"]) for found in p.ANY_BPB.finditer(line))
        self.run.byte_counts.append(
            ByteCount(
                label=line.split()[0].rstrip(":")[:LONGEST_LABEL],
                bytes=p.whole(counted["n"]),
                tokens=None if tokens is None else p.whole(tokens["n"]),
                bpb=tuple(score for score in scores if score is not None),
                line=number,
            )
        )

    def _step(self, number: int, line: str) -> None:
        stop = p.STOP.match(line)
        if stop is not None:
            self._stop(number, stop[1], p.seconds(stop[2], stop[3]), stop["step"])
            return
        step = p.STEP.match(line) or p.STEP_ALONE.match(line)
        if step is None:
            return
        rest = step["rest"]
        validates = p.STEP_VALIDATION.search(rest) is not None
        if not validates and p.STEP_KIND.search(rest) is None:
            return
        run, at = self.run, int(step["step"])
        self._header = self._header and at == 0
        if line in run.seen:
            return
        if (
            run.begun
            and run.steps is not None
            and (at < run.steps or (run.scores and at <= run.steps))
            and at <= 10_000
        ):
            if run.stopped_s is not None or at <= 1:
                self._earlier = run if run.scores else self._earlier
                self.run, self.runs = Run(), self.runs + 1
                run = self.run
        if len(run.seen) < MOST_STEPS:
            run.seen.add(line)
            loss = None if validates else p.STEP_LOSS.search(rest)
            if loss is not None:
                run.losses.append(f"{at}:{loss['n']}")
        if run.steps is None or at >= run.steps:
            run.steps = at
            run.lines["steps"] = number
            spent = p.STEP_TIME.search(rest)
            if spent is not None:
                taken = p.seconds(spent[1], spent[2])
                in_minutes = spent[2] in ("m", "min")
                if run.stopped_s is None and (run.coarse or not in_minutes):
                    run.train_s, run.coarse = taken, in_minutes
                    run.lines["train_s"] = number

    def _stop(self, number: int, why: str, taken: float, step: str | None) -> None:
        run = self.run
        run.stopped_s = run.train_s = taken
        run.lines["train_s"] = number
        if step is not None:
            run.steps = int(step)
            run.lines["steps"] = number

    def _size(self, number: int, line: str) -> None:
        run, text = self.run, line.strip()
        if (total := p.TOTAL_FORMAT.match(text)) is not None:
            run.totals.append((total["format"] or "", p.whole(total["n"]), number))
        elif (
            total := p.BUDGET.match(text) or p.ARTIFACT_BYTES.match(text) or p.ARTIFACT_PLAIN.match(text)
        ) is not None:
            if (n := p.whole(total["n"])) > 1000:
                run.totals.append(("stated", n, number))
        elif (total := p.TOTAL_PIPE.search(text)) is not None:
            run.totals.append(("pipe", p.whole(total["n"]), number))
        elif (rounded := p.TOTAL_ROUNDED.search(text)) is not None:
            run.megabytes = (float(rounded["n"]), len(rounded["decimals"] or ""))
            run.lines["megabytes_total"] = number
        model = p.MODEL.match(text) or p.MODEL_PIPE.match(text)
        if model is not None:
            run.models.append((model["format"] or "", p.whole(model["n"]), number))
        code = p.CODE.match(text)
        if code is not None:
            found = (p.whole(code["n"]), number)
            if (code["kind"] or "").lower() == "uncompressed":
                run.code_uncompressed = found
            else:
                run.code = found
                if not code["kind"]:
                    run.code_uncompressed = found
        elif "code:" in text.lower() and (inline := p.CODE_INLINE.search(text)) is not None:
            if (n := p.whole(inline["n"])) > 100:
                run.code = run.code_uncompressed = (n, number)

    def _time(self, number: int, line: str) -> None:
        run, text = self.run, line.strip()
        if (stop := p.STOP.match(text)) is not None:
            self._stop(number, stop[1], p.seconds(stop[2], stop[3]), stop["step"])
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
            if self.settings.get("ngram_hint_precompute_outside", "").lower() in ("1", "true"):
                self._hints_ahead(number)
        elif p.TIMER_BEGINS.match(text) is not None:
            self._hints_ahead(number)
        elif (adapted := p.ADAPTED.match(text)) is not None:
            self._ahead(number, p.seconds(adapted[1], adapted[2]))
        elif (process := p.PROCESS.match(text)) is not None:
            run.process_s = 60.0 * int(process["minutes"] or 0) + float(process["seconds"])
            run.lines["process_s"] = number

    def _hints_ahead(self, number: int) -> None:
        """What was built from validation tokens so far was built before the timer of the evaluation began."""
        if self.run.hinted_s > 0.0:
            self._ahead(number, self.run.hinted_s)
            self.run.hinted_s = 0.0

    def _ahead(self, number: int, taken: float) -> None:
        self.run.precompute_s = round((self.run.precompute_s or 0.0) + taken, 6)
        self.run.lines["precompute_s"] = number

    def _setup(self, number: int, line: str) -> None:
        text = line.strip()
        seed = p.SEED.fullmatch(text) or p.SEED_HEADER.search(text) or p.SEED_INLINE.search(text)
        if seed is not None and (self.seed is None or not text.startswith("=")):
            self.seed = (int(seed[1]), number)
        world = p.WORLD.search(text) or p.WORLD_HEADER.search(text)
        if world is not None and int(world[1]) > 0:
            self.world = (int(world[1]), number)
        tokens = p.TOKENS.match(text) or p.TOKENS_PLAIN.match(text)
        if tokens is not None:
            self.tokens = (p.whole(tokens["n"]), number)
        documents = p.DOCUMENTS.search(text)
        if documents is not None and text.startswith(("ttt", "eval", "val")):
            self.documents = (int(documents[1]), number)
        gpu = p.GPU_ROW.match(line) or p.GPU_LISTED.match(text)
        if gpu is not None and len(self.gpus) < MOST_GPUS:
            name = gpu["name"].strip()
            self.gpus[name] = self.gpus.get(name, 0) + 1
            self.gpu_line = self.gpu_line or number
        code = p.CODE_SHA256.match(text)
        if code is not None:
            self.code_sha256 = code[1].lower()

    def _setting(self, line: str) -> None:
        if _HEADER.match(line):
            self._header = True
        if not self._header or len(self.settings) >= MOST_SETTINGS:
            return
        pairs = p.PAIR.findall(line[:4000])
        one = p.SETTING.fullmatch(line)
        if one is not None and len(pairs) < 2:
            pairs = [(one[1], (one[2] or "").strip())]
        elif line.startswith(("step", "warmup", "final", "|")) or line[0].isdigit():
            return
        for name, value in pairs:
            if p.VALUE.fullmatch(value) and not name.endswith(("val_loss", "val_bpb", "eval_time")):
                self.settings[name.lower()] = value

    def facts(self, file: str, lines: Lines) -> LogFacts:
        """What the log says."""
        run = self.run if self.run.scores or self.run.alone or not self._earlier.scores else self._earlier
        final, where = final_score(run), dict(run.lines)
        total, model = total_bytes(run), model_bytes(run)
        for name, found in (
            ("seed_logged", self.seed),
            ("world_size", self.world),
            ("val_tokens", self.tokens),
            ("documents", self.documents),
            ("bytes_total", total),
            ("bytes_model", model),
            ("bytes_code", run.code),
            ("bytes_code_uncompressed", run.code_uncompressed),
        ):
            if found is not None:
                where[name] = found[1]
        if self.gpu_line is not None:
            where["gpus"] = self.gpu_line
        if self.dump.found is not None:
            where["dump"] = self.dump.found[1]
        if run.partial is not None:
            where["partial"] = run.partial[1]
        eval_s = None
        if final is not None:
            where["final_val_bpb"] = where["final_val_loss"] = final.line
            eval_s = eval_seconds(run, final)
        train_s = run.train_s if run.train_s is not None else run.stated_s
        return LogFacts(
            file=file,
            runs_in_file=self.runs,
            seed_logged=None if self.seed is None else self.seed[0],
            final_label=None if final is None else final.label,
            final_val_bpb=None if final is None else final.val_bpb,
            final_val_loss=None if final is None else final.val_loss,
            bytes_total=None if total is None else total[0],
            megabytes_total=run.megabytes,
            bytes_model=None if model is None else model[0],
            bytes_code=None if run.code is None else run.code[0],
            bytes_code_uncompressed=None if run.code_uncompressed is None else run.code_uncompressed[0],
            train_s=train_s,
            steps=run.steps,
            step_ms=None if train_s is None or not run.steps else round(1000.0 * train_s / run.steps, 3),
            eval_s=eval_s,
            eval_sum_s=round(sum(spent for _, _, spent in run.times), 6) if run.times else None,
            ttt_warmup_s=run.warmup_s,
            calibration_s=calibration_seconds(run.calibration),
            calibrates_on_itself=run.calibrates_on_itself,
            decompress_s=run.decompress_s,
            precompute_s=run.precompute_s,
            process_s=run.process_s,
            world_size=None if self.world is None else self.world[0],
            gpus=self.gpus,
            val_tokens=None if self.tokens is None else self.tokens[0],
            documents=None if self.documents is None else self.documents[0],
            partial=None if run.partial is None else run.partial[0],
            scores=(*run.scores, *run.alone) if not run.scores else tuple(run.scores),
            diagnostics=tuple(run.diagnostics),
            byte_counts=tuple(run.byte_counts),
            settings=self.settings,
            dump_bytes=None if self.dump.found is None else len(self.dump.found[0].encode()),
            dump_sha256=self.dump.sha256,
            dump_garbled=self.dump.garbled,
            code_sha256=self.code_sha256,
            trace_sha256=run.trace_sha256,
            sha256=lines.sha256,
            size_bytes=lines.size_bytes,
            lines=where,
            problems=tuple(lines.problems),
        )


def read_log(stream: BinaryIO, file: str) -> tuple[LogFacts, str | None]:
    """The facts of one log, and the source that it dumps."""
    lines, reader = Lines(stream), Reader()
    for number, line in lines:
        reader.feed(number, bare(line))
    found = reader.dump.found
    return reader.facts(file, lines), None if found is None else found[0]


def _digits(number: str) -> int:
    return len(number.partition(".")[2])
