"""The four readings of the size rule: what counts as code, added to the bytes of the artifact."""

from dataclasses import dataclass

from fairway.verify.facts import Facts, SeedFacts


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


def readings_of(facts: Facts, seed: SeedFacts) -> Readings:
    """The four readings of one seed, from the files and the claim."""
    code = facts.need_code()
    results = facts.submission.get("seed_results") if facts.submission is not None else None
    block = results.get(str(seed.seed)) if isinstance(results, dict) else None
    claimed = block.get("bytes_total") if isinstance(block, dict) else None
    return readings(
        artifact_bytes=seed.need_artifact().size_bytes,
        code_bytes=code.file.size_bytes,
        all_code_bytes=sum(facts.code_files().values()) if facts.scope == "record" else code.file.size_bytes,
        claimed=claimed if isinstance(claimed, int) and not isinstance(claimed, bool) else None,
        repacked_bytes=code.repacked_bytes,
    )
