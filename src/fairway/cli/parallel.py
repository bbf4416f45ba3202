"""Many folders at once, each judged in a process of its own."""

import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace

from fairway.verify.finding import Verdict, unverifiable
from fairway.verify.run import READING
from fairway.verify.targets import Options, Target, judged


def all_judged(targets: Sequence[Target], options: Options, jobs: int | None = None) -> Iterator[Verdict]:
    """The verdicts, in the order of the targets; a process that dies is a crash of its folder's verdict alone."""
    jobs = min(jobs or len(os.sched_getaffinity(0)), len(targets))
    if jobs <= 1:
        for target in targets:
            yield judged(target, options)
        return
    with ProcessPoolExecutor(jobs) as pool:
        with warnings.catch_warnings():
            # Python 3.12 warns of any fork beside a thread; none of ours runs when the processes are made.
            warnings.simplefilter("ignore", DeprecationWarning)
            waiting: list[Future[Verdict]] = [pool.submit(judged, target, options) for target in targets]
        for target, future in zip(targets, waiting, strict=True):
            try:
                yield future.result()
            except BrokenProcessPool:
                # Which folder killed the process is not known: each is tried again in a process of its own.
                yield _alone(target, options)


def _alone(target: Target, options: Options) -> Verdict:
    with ProcessPoolExecutor(1) as pool:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                waiting = pool.submit(judged, target, options)
            return waiting.result()
        except BrokenProcessPool:
            died = unverifiable("the process that judged the folder died, which is a fault of the judge")
            return Verdict(
                folder=target.path.rstrip("/").rsplit("/", 1)[-1] or target.commit[:12],
                scope="submission",
                track=target.track.name,
                rules_version=target.track.rules_version,
                sums_sha256=None,
                findings=(replace(died, rule=READING, category="integrity", source="fairway"),),
                crashes=(READING,),
                profiles=tuple(options.profiles),
                path=target.path,
            )
