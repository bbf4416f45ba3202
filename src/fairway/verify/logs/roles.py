"""Which logs a claim rests on: seeds, and beside them copies, experiments and summaries."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from fairway.verify.claims.claim import Claim
from fairway.verify.logs.facts import LogFacts

_SEED = re.compile(r"(?:^|[^a-z])seed[_\-=. ]?(\d{1,9})(?!\d)|(?:^|[_\-])s(\d{1,9})(?=[_\-.]|$)", re.IGNORECASE)
_LAST = re.compile(r"(?:^|[_\-])(?:train|log)[_\-]?(\d{1,9})$", re.IGNORECASE)
_WIDE = ("train_seq_len", "vocab_size", "tokenizer_path", "iterations", "model_dim", "num_layers", "model_params")


def seed_in_name(file: str) -> int | None:
    """The seed that the name of a log tells: ``train_seed42.log``, ``run_s42.txt``, ``logs/train0.txt``."""
    stem = PurePosixPath(file).name.rsplit(".", 1)[0]
    found = _SEED.search(stem) or _LAST.search(stem)
    return None if found is None else int(next(group for group in found.groups() if group is not None))


def with_roles(logs: Sequence[LogFacts], claim: Claim | None) -> tuple[LogFacts, ...]:
    """The logs in order, each with its role; ``claim`` decides where a folder holds several configurations."""
    told = [_plain(log) for log in _copies(logs)]
    seeds = [log for log in told if log.role == "seed"]
    main = _family(seeds, claim)
    roles = {log.file: log if log.file in main else replace(log, role="experiment") for log in seeds}
    trained = {_seed(log) for log in roles.values() if log.role == "seed" and log.train_s is not None}
    scored = {
        _seed(log)
        for log in roles.values()
        if log.role == "seed" and log.train_s is None and log.final_val_bpb is not None
    }
    both = (trained & scored) - {None}
    for file, log in roles.items():
        if log.role == "seed" and _seed(log) in both:
            roles[file] = replace(log, role="seed_train" if log.train_s is not None else "seed_eval")
    return tuple(roles.get(log.file, log) for log in told)


def _seed(log: LogFacts) -> int | None:
    return log.seed_logged if log.seed_logged is not None else log.seed_in_name


def _copies(logs: Sequence[LogFacts]) -> list[LogFacts]:
    """Copies, by bytes or by what they tell of one run, are duplicates of the first.

    The first takes the seed of the name from its copies.
    """
    first: dict[tuple[object, ...], LogFacts] = {}
    told: list[LogFacts] = []
    for log in logs:
        signs = _signs(log)
        known = next((first[sign] for sign in signs if sign in first), None)
        if known is not None:
            told.append(replace(log, role="duplicate", duplicate_of=known.file))
            continue
        told.append(log)
        for sign in signs:
            first[sign] = log
    names = {log.sha256: log.seed_in_name for log in reversed(logs) if log.seed_in_name is not None}
    return [log if log.seed_in_name is not None else replace(log, seed_in_name=names.get(log.sha256)) for log in told]


def _signs(log: LogFacts) -> list[tuple[object, ...]]:
    """What two logs of one run have in common: all bytes, or seed, losses on the way and score at the end."""
    signs: list[tuple[object, ...]] = [("bytes", log.sha256)] if log.sha256 else []
    if log.trace_sha256 and log.final_val_bpb is not None:
        signs.append(("run", log.trace_sha256, log.seed_logged, log.seed_in_name, log.final_val_bpb))
    return signs


def _plain(log: LogFacts) -> LogFacts:
    if log.role == "seed" and log.steps is None and log.final_val_bpb is None:
        return replace(log, role="summary", seed_logged=None)
    return log


def _family(seeds: Sequence[LogFacts], claim: Claim | None) -> set[str]:
    """The files of the configuration that the claim is about; all of them where they are of one."""
    families: dict[object, list[LogFacts]] = defaultdict(list)
    trained = [log for log in seeds if log.train_s is not None]
    for log in trained:
        families[_configuration(log)].append(log)
    joined = _by_name(list(families.values()))
    if len(joined) < 2:
        return {log.file for log in seeds}
    best = max(joined, key=lambda family: _weight(family, claim))
    known = {_seed(log) for log in best}
    return {log.file for log in best} | {log.file for log in seeds if log.train_s is None and _seed(log) in known}


def _by_name(families: list[list[LogFacts]]) -> list[list[LogFacts]]:
    """Families whose files have one name but for the seed are one: a seed of another configuration is still a seed."""
    joined: list[list[LogFacts]] = []
    for family in families:
        names = {_name(log.file) for log in family}
        known = next((other for other in joined if names & {_name(log.file) for log in other}), None)
        if known is None:
            joined.append(list(family))
        else:
            known.extend(family)
    return joined


def _name(file: str) -> str:
    """The name of a log with the number of the seed left out."""
    stem = PurePosixPath(file)
    seed = seed_in_name(file)
    return file if seed is None else str(stem.with_name(re.sub(rf"(?<!\d){seed}(?!\d)", "N", stem.name)))


def _configuration(log: LogFacts) -> tuple[object, ...]:
    budget = log.settings.get("max_wallclock_seconds", "")
    try:
        device_s = round(float(budget) * (log.world_size or 1), -1)
    except ValueError:
        device_s = 0.0
    return (device_s, *(PurePosixPath(log.settings.get(name, "")).name for name in _WIDE))


def _weight(family: Sequence[LogFacts], claim: Claim | None) -> tuple[int, int, int]:
    claimed = 0
    if claim is not None:
        wanted = [claim.val_bpb] if claim.val_bpb is not None else []
        wanted += [seed.val_bpb for seed in (claim.per_seed or {}).values() if seed.val_bpb is not None]
        lines = [score.val_bpb for log in family for score in log.scores]
        finals = [log.final_val_bpb for log in family if log.final_val_bpb is not None]
        lines += [sum(finals) / len(finals)] if finals else []
        claimed = sum(any(abs(bpb - score) < 6e-5 for score in lines) for bpb in wanted)
    distinct = Counter(_seed(log) for log in family)
    return claimed, len(distinct), len(family)
