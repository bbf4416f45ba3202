"""The referee of methods that learn from targets before they are scored: it lets them, and says so on the ledger.

Nothing that it scores may be called a record (recipes E.4, G.18; rulings in #402 and #677). The ledger's first entry
holds the method's settings with ``invalid`` among them, its ``learn`` entries stand before the scores of what they
learn from, and the judge fails both.
"""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Int
from torch import Tensor

from fairway.runtime.ranks import Ranks
from fairway.score.bpb import Tally
from fairway.score.budget import Watch
from fairway.score.ledger import Ledger, tokens_sha256
from fairway.score.passes import AheadEvaluator
from fairway.score.referee import Evaluator, check_plan, plan_sha256
from fairway.score.shared import SharedReferee


class AheadReferee(SharedReferee):
    """``SharedReferee`` that first shows the targets that an ``AheadEvaluator`` asks for."""

    def __init__(
        self,
        tokens_N: Int[Tensor, " N"],
        bytes_N: Int[Tensor, " N"],
        lengths: Sequence[int],
        *,
        ranks: Ranks,
        name: str,
    ) -> None:
        super().__init__(tokens_N, bytes_N, lengths, ranks=ranks, name=name)

    def run(
        self,
        method: Evaluator,
        ledger: Ledger,
        *,
        settings: dict[str, Any],
        artifact_sha256: str,
        watch: Watch,
    ) -> Tally:
        """As the fair referee does, but for what comes before the first score; ``settings`` must say ``invalid``."""
        assert isinstance(method, AheadEvaluator) and settings["invalid"], "a fair method needs no such referee"
        ahead, steps = tuple(method.ahead(self._lengths)), tuple(method.plan(self._lengths))
        check_plan(steps, self._lengths)
        ledger.append(
            "open",
            {
                "artifact_sha256": artifact_sha256,
                "tokens_sha256": tokens_sha256(self._tokens_N),
                "documents": len(self._lengths),
                "targets": self.targets,
                "method": settings,
                "plan_sha256": plan_sha256((*ahead, *steps)),
            },
        )
        watch.begin((*ahead, *steps), self.targets)
        tally = Tally()
        for step in ahead:
            self._enter_learned(step, ledger)
            self._show(step, method)
            watch.took(step, together=True)
            self._stop_together(watch, tally)
        self._drive(steps, method, ledger, tally, watch)
        ledger.append("close", {"targets": tally.tokens, "bytes": tally.size_bytes, "nats": tally.nats})
        return tally
