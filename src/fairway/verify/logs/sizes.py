"""Lines about bytes: model, code, total."""

from fairway.verify.logs import patterns as p
from fairway.verify.logs.run import Run


def read_size(run: Run, number: int, text: str) -> None:
    """Add what a line says about model, code and total to a run."""
    if (total := p.TOTAL_FORMAT.match(text)) is not None:
        run.totals.append((total["format"] or "", p.whole(total["n"]), number))
    elif (total := p.BUDGET.match(text) or p.ARTIFACT_BYTES.match(text) or p.ARTIFACT_PLAIN.match(text)) is not None:
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
