"""Bytes per score: what a loss in nats per token and a score in bits per byte say together.

``bpb = loss / ln 2 · tokens / bytes``, so a log that gives loss, score and tokens gives the bytes it divided by. They
are those of the validation text, whatever the tokenizer.
"""

import math
from dataclasses import dataclass
from typing import Literal

from fairway.verify.logs.facts import LogFacts, ScoreLine
from fairway.verify.tracks import ValidationSet

Outcome = Literal["whole", "former", "part", "more", "less", "per_byte"]

PART_BELOW = 0.99
"""Below this share of the bytes a score is over a part of the set, above it bytes are missing from the count."""
LONGEST_SEQUENCE = 65_536
"""Tokens that an evaluation in whole sequences may drop at the end."""

SIGNATURES: tuple[tuple[float, str], ...] = (
    (1.0413, "as where byte-fallback tokens count three bytes each (#1143, #1289)"),
    (1.0895, "as where the bytes of a case-coded text are counted with its marks (#2138)"),
    (1.1672, "as where a leading space is added in the byte table and again in the evaluation (#1545, #1687)"),
    (1.2100, "as where a table of another tokenizer gives the bytes (#1184)"),
    (1.2330, "as where U+2581 is counted as three bytes of text (#755)"),
)
"""Ratios of counted to true bytes that known faults leave, each with its pull requests."""
SIGNATURE_WIDTH = 0.012


@dataclass(frozen=True, slots=True, kw_only=True)
class Denominator:
    """The bytes that one score was divided by, beside those of the set."""

    outcome: Outcome
    bytes: int
    expected: int
    ratio: float
    tolerance: float
    signature: str = ""


def implied_bytes(tokens: int, score: ScoreLine) -> int | None:
    """Bytes that a score was divided by; None where the line does not hold a loss and a score above 0."""
    if score.val_loss is None or score.val_bpb <= 0.0 or score.val_loss <= 0.0:
        return None
    if not math.isfinite(tokens * score.val_loss / score.val_bpb):
        return None
    return round(tokens * score.val_loss / (math.log(2.0) * score.val_bpb))


def judged(validation: ValidationSet, log: LogFacts, score: ScoreLine) -> Denominator | None:
    """How the bytes behind a score relate to the validation set; None where the log does not give them."""
    if log.val_tokens is None or score.digits < 3:
        return None
    counted = implied_bytes(log.val_tokens, score)
    if counted is None or score.val_loss is None:
        return None
    rounding = 0.5 * 10.0**-score.digits * (1.0 / score.val_bpb + 1.0 / score.val_loss)
    return compared(validation, counted, log.val_tokens, validation.tolerance + rounding)


def compared(validation: ValidationSet, counted: int, tokens: int | None, tolerance: float) -> Denominator:
    """Counted bytes beside those of the set, cut to whole sequences where the tokens are."""
    expected = _expected(validation, tokens)
    ratio = counted / expected
    for former in validation.former:
        if tokens in former.targets and abs(counted / former.bytes - 1.0) <= tolerance:
            return Denominator(
                outcome="former",
                bytes=counted,
                expected=former.bytes,
                ratio=counted / former.bytes,
                tolerance=tolerance,
            )
    if abs(ratio - 1.0) <= tolerance:
        outcome: Outcome = "whole"
    elif ratio > 1.0:
        outcome = "more"
    elif tokens and abs(counted / tokens - 1.0) <= tolerance:
        outcome = "per_byte"
    else:
        outcome = "part" if ratio < PART_BELOW else "less"
    name = next((text for known, text in SIGNATURES if abs(ratio - known) <= SIGNATURE_WIDTH), "")
    return Denominator(
        outcome=outcome, bytes=counted, expected=expected, ratio=ratio, tolerance=tolerance, signature=name
    )


def _expected(validation: ValidationSet, tokens: int | None) -> int:
    """Bytes of the set, less the tail that an evaluation in whole sequences of a known data set drops."""
    if tokens is None:
        return validation.bytes
    whole = [count for count in validation.targets if 0 <= count - tokens < LONGEST_SEQUENCE]
    return validation.bytes if not whole else round(validation.bytes * tokens / min(whole))
