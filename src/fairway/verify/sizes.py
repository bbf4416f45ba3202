"""The four readings of the size rule: what counts as code, added to the bytes of the artifact."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """Bytes of code and artifact of one seed together, by each reading; None where there is nothing to read."""

    literal: int
    """The file ``train_gpt.py`` as it lies there. This is the written rule."""
    all_code: int
    """Every file of code in the folder, the readable twin of what runs included."""
    claimed: int | None
    """What ``submission.json`` says."""
    repacked: int | None
    """The program packed as small as can be shown. This is what accepted records counted from 2026-04-10 on."""


def readings(
    *, artifact_bytes: int, code_bytes: int, all_code_bytes: int, claimed: int | None, repacked_bytes: int | None
) -> Readings:
    """The readings of one seed; ``claimed`` is a total, the others are sizes of code."""
    return Readings(
        literal=code_bytes + artifact_bytes,
        all_code=all_code_bytes + artifact_bytes,
        claimed=claimed,
        repacked=None if repacked_bytes is None else repacked_bytes + artifact_bytes,
    )
