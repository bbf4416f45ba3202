"""One log, read line by line into its facts."""

from fairway.verify.logs import patterns as p
from fairway.verify.logs.dump import Dump
from fairway.verify.logs.facts import ByteCount, LogFacts, ScoreLine
from fairway.verify.logs.lines import ByteStream, Lines, bare
from fairway.verify.logs.run import (
    MOST_LINES,
    Run,
    calibration_seconds,
    eval_seconds,
    final_score,
    model_bytes,
    total_bytes,
)
from fairway.verify.logs.setup import Setup
from fairway.verify.logs.sizes import read_size
from fairway.verify.logs.times import read_time, stop

LONGEST_LABEL = 80
LONGEST_FACT = 1_000
"""Characters of a line in which a fact stands; settings may stand further on."""
MOST_STEPS = 20_000
_HINTS = (
    "step", "rain", "total", "udget", "erialized", "ode", "eed", "orld", "okens", "docs", "GPU", "NVIDIA", "ompil",
    "ecompress", "gptq", "GPTQ", "recompute", "rtifact", "bytes", "params", "ess", "top", "real", "quant", "timer",
    "scored targets",
)  # fmt: skip


class Reader:
    """Takes the lines of one log, of whose runs the last that has a score counts; ``facts`` tells what they say."""

    def __init__(self) -> None:
        self.run = Run()
        self._earlier = self.run
        """The last run with a score before the one that is read."""
        self.runs = 1
        self.dump = Dump()
        self.setup = Setup()

    def feed(self, number: int, line: str) -> None:
        """One line, without prefixes."""
        if self.dump.feed(number, line) or not line:
            return
        if ":" in line or "=" in line or line.startswith("Running"):
            self.setup.read_setting(line)
        if len(line) > LONGEST_FACT:
            self.setup.read(number, line[: self.setup.LONGEST])
            return
        if "bpb" in line or "BPB" in line:
            self._score(number, line)
        if line[0] in "sSiI0123456789" and "/" in line or line.startswith("step"):
            if self._step(number, line):
                return
        if any(hint in line for hint in _HINTS):
            text = line.strip()
            read_size(self.run, number, text)
            read_time(self.run, number, text, self.setup.settings)
            self.setup.read(number, line)
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
        label = " ".join(
            word for word in words if len(word) <= LONGEST_LABEL and not p.ARGUMENT.fullmatch(word)
        ).rstrip(":")
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
        if len(text) > 2 * LONGEST_LABEL:
            return
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

    def _step(self, number: int, line: str) -> bool:
        """Take a line of a step; whether it is one."""
        ended = p.STOP.match(line)
        if ended is not None:
            stop(self.run, number, p.seconds(ended[2], ended[3]), ended["step"])
            return True
        step = p.STEP.match(line) or p.STEP_ALONE.match(line)
        if step is None:
            return False
        rest = step["rest"]
        validates = p.STEP_VALIDATION.search(rest) is not None
        if not validates and p.STEP_KIND.search(rest) is None:
            return False
        run, at = self.run, int(step["step"])
        self.setup.header = self.setup.header and at == 0
        if line in run.seen:
            return True
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
        return True

    def facts(self, file: str, lines: Lines) -> LogFacts:
        """What the log says."""
        run = self.run if self.run.scores or self.run.alone or not self._earlier.scores else self._earlier
        setup = self.setup
        final, where = final_score(run), dict(run.lines)
        total, model = total_bytes(run), model_bytes(run)
        for name, found in (
            ("seed_logged", setup.seed),
            ("world_size", setup.world),
            ("val_tokens", setup.tokens),
            ("documents", setup.documents),
            ("bytes_total", total),
            ("bytes_model", model),
            ("bytes_code", run.code),
            ("bytes_code_uncompressed", run.code_uncompressed),
        ):
            if found is not None:
                where[name] = found[1]
        if setup.gpu_line is not None:
            where["gpus"] = setup.gpu_line
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
            runs_in_file=max(self.runs, setup.starts),
            seed_logged=None if setup.seed is None else setup.seed[0],
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
            world_size=None if setup.world is None else setup.world[0],
            gpus=setup.gpus,
            val_tokens=None if setup.tokens is None else setup.tokens[0],
            documents=None if setup.documents is None else setup.documents[0],
            partial=None if run.partial is None else run.partial[0],
            scores=(*run.scores, *run.alone) if not run.scores else tuple(run.scores),
            diagnostics=tuple(run.diagnostics),
            byte_counts=tuple(run.byte_counts),
            settings=setup.settings,
            dump_bytes=None if self.dump.found is None else len(self.dump.found[0].encode()),
            dump_sha256=self.dump.sha256,
            dump_garbled=self.dump.garbled,
            code_sha256=setup.code_sha256,
            trace_sha256=run.trace_sha256,
            sha256=lines.sha256,
            size_bytes=lines.size_bytes,
            lines=where,
            problems=tuple(lines.problems),
        )


def read_log(stream: ByteStream, file: str) -> tuple[LogFacts, str | None]:
    """The facts of one log, and the source that it dumps."""
    lines, reader = Lines(stream), Reader()
    for number, line in lines:
        reader.feed(number, bare(line))
    found = reader.dump.found
    return reader.facts(file, lines), None if found is None else found[0]


def _digits(number: str) -> int:
    return len(number.partition(".")[2])
