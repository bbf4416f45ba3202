"""Scripts in the manner of the field's, legal ones and the same with one fault each, run inside walls and judged."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from fairway.cli.probe_script import judge_script
from fairway.errors import FairwayError
from fairway.probes.script import REPORT, ScriptReport, Setting, judge, prepare, run_jobs
from fairway.probes.script_data import make_up
from fairway.probes.script_findings import NAMES

SCRIPTS = Path(__file__).parent / "scripts"
SETTING = Setting(vocab_size=96, val_tokens=600, train_tokens=1024, context=32, steps=2, seconds=240.0)

Edits = tuple[tuple[str, str], ...]

LEGAL: Mapping[str, tuple[str, Edits]] = {
    "flat": ("flat", ()),
    "sliding": ("sliding", ()),
    "chunked": ("chunked", ()),
    "flat by hand": (
        "flat",
        (
            (
                "        return F.cross_entropy(logits.float(), target_ids.reshape(-1), reduction=\"mean\")\n",
                "        picked = logits.gather(1, target_ids.reshape(-1, 1)).squeeze(1)\n"
                "        return (logits.logsumexp(1) - picked).mean()\n",
            ),
        ),
    ),
    "sliding with a mask": (
        "sliding",
        (
            (
                "            scored = nll[i, new : lengths[i]].to(torch.float64)\n"
                "            loss_sum += scored.sum()\n"
                "            token_count += scored.numel()\n",
                "            mask = (torch.arange(SEQ_LEN) >= new) & (torch.arange(SEQ_LEN) < lengths[i])\n"
                "            loss_sum += (nll[i].double() * mask).sum()\n"
                "            token_count += int(mask.sum())\n",
            ),
        ),
    ),
    "flat on a card": (
        "flat",
        (
            ("    torch.manual_seed(", "    assert torch.cuda.is_available()\n    torch.manual_seed("),
            ("    base_model = GPT(args)\n", "    base_model = GPT(args).to(torch.device('cuda', 0)).cuda()\n"),
            (
                "        loss = model(local[:-1].reshape(-1, args.seq_len), local[1:].reshape(-1, args.seq_len))\n",
                "        local = local.pin_memory().to('cuda', non_blocking=True)\n"
                "        with torch.autocast(device_type='cuda', dtype=torch.bfloat16):\n"
                "            loss = model(local[:-1].reshape(-1, args.seq_len), local[1:].reshape(-1, args.seq_len))\n"
                "        torch.cuda.synchronize()\n",
            ),
        ),
    ),
    "sliding with the published tail": (
        "sliding",
        (
            ("if ws + SEQ_LEN - STRIDE < total or ws == 0]", "if min(ws + SEQ_LEN, total) - ws >= STRIDE]"),
            (
                "            new = 0 if ws == 0 else SEQ_LEN - STRIDE\n",
                "            new = 0 if ws == 0 else max(lengths[i] - STRIDE, 0)\n",
            ),
        ),
    ),
    "chunked after a shorter pass": (
        "chunked",
        (
            (
                "    loss, bpb = evaluate(",
                "    held_out = torch.from_numpy(np.concatenate(list(shards('val'))))[:620]\n"
                "    with torch.no_grad():\n"
                "        plain = cross_entropy(model(held_out[None, :-1])[0], held_out[1:]).item()\n"
                "    sys.stdout.write(f'final_roundtrip val_loss:{plain:.4f}\\n')\n"
                "    loss, bpb = evaluate(",
            ),
        ),
    ),
    "learning kept from the longer documents": (
        "chunked",
        (
            (
                "    for document in sorted(documents(tokens), key=len, reverse=True):\n"
                "        own = copy.deepcopy(model)\n"
                "        optimizer = torch.optim.SGD(own.parameters(), lr=0.1)\n",
                "    own = copy.deepcopy(model)\n"
                "    optimizer = torch.optim.SGD(own.parameters(), lr=0.1)\n"
                "    for document in sorted(documents(tokens), key=len, reverse=True):\n",
            ),
        ),
    ),
    "chunked twice": (
        "chunked",
        (
            (
                "    loss, bpb = evaluate(",
                "    before = evaluate(model, torch.from_numpy(np.concatenate(list(shards('val')))), sizes)\n"
                "    sys.stdout.write(f'before quantization val_loss:{before[0]:.4f}\\n')\n"
                "    loss, bpb = evaluate(",
            ),
        ),
    ),
}  # fmt: skip
"""Name: script and what is replaced in it."""

CHEATS: Mapping[str, tuple[str, Edits, set[str]]] = {
    "future leak": ("flat", (("is_causal=True", "is_causal=False"),), {"future-flip", "self-flip"}),
    "skipped tokens": (
        "flat",
        (("for first in range(0, rows, per_batch):", "for first in range(0, rows // 2, per_batch):"),),
        {"coverage"},
    ),
    "unnormalised": (
        "flat",
        (
            (
                "F.cross_entropy(logits.float(), target_ids.reshape(-1), reduction=\"mean\")",
                "F.nll_loss(F.log_softmax(logits.float(), 1) + 0.5, target_ids.reshape(-1))",
            ),
        ),
        {"sum-to-one"},
    ),
    "target in the logits": (
        "flat",
        (
            (
                "        logits = 30.0 * torch.tanh",
                "        logits = logits + 0.1 * F.one_hot(target_ids.reshape(-1), logits.size(-1))\n"
                "        logits = 30.0 * torch.tanh",
            ),
        ),
        {"self-flip"},
    ),
    "every window whole": ("sliding", (("new = 0 if ws == 0 else SEQ_LEN - STRIDE", "new = 0"),), {"coverage"}),
    "least of two windows": (
        "sliding",
        (
            (
                "            loss_sum += scored.sum()\n",
                "            other = F.cross_entropy(0.5 * logits[i], y[i], reduction='none')[new : lengths[i]]\n"
                "            loss_sum += torch.minimum(scored, other.double()).sum()\n",
            ),
        ),
        {"choice", "coverage", "reported"},
    ),
    "learned first": (
        "chunked",
        (
            (
                "            losses = cross_entropy(own(x[None])[0], y, reduction=\"none\")\n",
                "            optimizer.zero_grad()\n"
                "            cross_entropy(own(x[None])[0], y).backward()\n"
                "            optimizer.step()\n"
                "            losses = cross_entropy(own(x[None])[0], y, reduction=\"none\")\n",
            ),
        ),
        {"score-first", "future-flip", "self-flip"},
    ),
    "learned whole before": (
        "chunked",
        (
            (
                "    loss, bpb = evaluate(",
                "    held_out = torch.from_numpy(np.concatenate(list(shards('val'))))\n"
                "    train(model, held_out, 3, 256, 32)\n"
                "    loss, bpb = evaluate(",
            ),
        ),
        {"score-first", "future-flip", "self-flip"},
    ),
    "scored again after learning": (
        "chunked",
        (
            ("                nats += losses", "                first = losses"),
            (
                "            optimizer.step()\n    return nats",
                "            optimizer.step()\n"
                "            with torch.no_grad():\n"
                "                again = cross_entropy(own(x[None])[0], y, reduction='none')[start - begin :]\n"
                "                nats += min(first, again.double().sum().item())\n"
                "    return nats",
            ),
        ),
        {"score-first", "coverage", "future-flip", "self-flip", "reported"},
    ),
    "another number printed": (
        "sliding",
        (("val_loss, val_bpb = eval_val_sliding(model, val, sizes)\n",
          "val_loss, val_bpb = (0.9 * each for each in eval_val_sliding(model, val, sizes))\n"),),
        {"reported"},
    ),
}  # fmt: skip
"""Name: script, what is replaced in it, and the probes that must fail, no others."""

FUSED = """        return Fused.apply(logits.float(), target_ids.reshape(-1)).mean()


class Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z, t):
        p = (z - z.amax(1, keepdim=True)).exp()
        p = p / p.sum(1, keepdim=True)
        ctx.save_for_backward(p, t)
        return -(p * F.one_hot(t, z.size(1))).sum(1).log()

    @staticmethod
    def backward(ctx, g):
        p, t = ctx.saved_tensors
        return (p - F.one_hot(t, p.size(1))) * g[:, None], None
"""

UNVERIFIABLE: Mapping[str, tuple[str, Edits, str]] = {
    "fused": (
        "flat",
        (('        return F.cross_entropy(logits.float(), target_ids.reshape(-1), reduction="mean")\n', FUSED),),
        r"no loss on validation targets was captured \(no call .* seen\): a fused or compiled loss",
    ),
    "crash": (
        "chunked",
        (("    model = Model()\n", "    model = Model().to(undefined)\n"),),
        r"run base crashed \(status 1\): NameError: name 'undefined' is not defined",
    ),
    "a kernel that only cards have": (
        "flat",
        (
            (
                "        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)\n",
                "        y = torch.ops.flash_attn_3.fwd(q, k, v)\n",
            ),
        ),
        r"run base needs what this machine lacks \(status 1\): AttributeError: .*flash_attn_3",
    ),
    "dead": (
        "sliding",
        (("model = Mixer()\n", "model = Mixer()\nos.kill(os.getpid(), 9)\n"),),
        r"run base left no capture: the process was ended from within or killed",
    ),
}
"""Name: script, what is replaced in it, and why nothing can be said."""


def edited(name: str, edits: Edits) -> str:
    text = (SCRIPTS / f"{name}.py").read_text(encoding="utf-8")
    for old, new in edits:
        assert text.count(old) == 1, f"{name}.py has {text.count(old)} of {old!r}"
        text = text.replace(old, new)
    return text


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, ScriptReport]:
    """Every script judged; all their runs are forked from one process, for torch takes seconds to import."""
    root = tmp_path_factory.mktemp("scripts")
    made = make_up(SETTING.vocab_size, SETTING.val_tokens, SETTING.train_tokens)
    jobs = {}
    for name, (script, edits, *_) in {**LEGAL, **CHEATS, **UNVERIFIABLE}.items():
        place = root / re.sub(r"\W", "_", name)
        place.mkdir()
        path = place / "train_gpt.py"
        path.write_text(edited(script, edits), encoding="utf-8")
        runs = ("base",) if name in UNVERIFIABLE else ("base", "again", *made.flips)
        jobs[name] = [prepare(path, place / run, run, made, SETTING) for run in runs]
    seen = run_jobs([job for each in jobs.values() for job in each], root, SETTING)
    assert seen.is_well, (root / "run.log").read_text()
    return {
        name: judge(Path(each[0]["folder"], "train_gpt.py"), each, [seen], made, SETTING, seen.seconds)
        for name, each in jobs.items()
    }


def test_passes_are_told_apart_by_what_is_printed_between_them(reports):
    flat, twice, after = (reports[name].passes for name in ("flat", "chunked twice", "chunked after a shorter pass"))
    assert [each["covered"] for each in flat] == [640, 640]
    assert [each["lines"][0].split()[0] for each in flat] == ["step:2/2", "final_fp16_zlib_roundtrip_exact"]
    assert [each["covered"] for each in twice] == [640, 640]
    assert [each["covered"] for each in after] == [619, 640]


def test_what_published_loops_score_again_is_told_and_not_held_against_them(reports):
    told = {probe.name: probe.because for probe in reports["sliding with the published tail"].probes}
    assert re.search(r"scored once; \d+ of the last row are scored again, as published loops do", told["coverage"])


def test_what_was_learned_and_put_back_is_told(reports):
    told = {probe.name: probe.because for probe in reports["chunked twice"].probes}
    assert told["score-first"].endswith("what was learned was put back")


def test_the_report_is_plain_json_and_what_was_printed_is_kept(reports):
    report = json.loads(reports["flat"].as_json())
    assert (report["format"], report["verdict"]) == ("fairway-probe-script/1", "PASSED")
    assert [run["name"] for run in report["runs"]] == ["base", "again", "one", "rest"]
    assert "final_fp16_zlib_roundtrip_exact" in Path(report["runs"][0]["printed"]).read_text()
    assert report["isolation"]["state"] in ("enforced", "not available")


def test_one_script_from_the_command_line(tmp_path, capsys):
    path = tmp_path / "train_gpt.py"
    path.write_text("import torch\nprint('begins')\nraise SystemExit(3)\n", encoding="utf-8")
    assert judge_script(path, tmp_path / "out", 64, ["ITERATIONS=1"]) == 1
    assert "UNVERIFIABLE" in capsys.readouterr().out
    assert (tmp_path / "out" / "base" / "work" / "stdout.txt").read_text() == "begins\n"
    report = json.loads((tmp_path / "out" / REPORT).read_text())
    assert report["because"].startswith("run base crashed (status 3)")
    with pytest.raises(FairwayError, match="--set takes KEY=VALUE, got 'ITERATIONS'"):
        judge_script(path, tmp_path / "out", 64, ["ITERATIONS"])
    with pytest.raises(FairwayError, match="missing.py: no such script"):
        judge_script(tmp_path / "missing.py", tmp_path / "out", 64, [])


def failed(report: ScriptReport) -> set[str]:
    return {probe.name for probe in report.probes if probe.verdict == "failed"}


@pytest.mark.parametrize("name", LEGAL)
def test_a_legal_script_is_not_accused(reports, name):
    report = reports[name]
    assert report.verdict == "PASSED", report.because
    assert [probe.name for probe in report.probes] == list(NAMES)
    assert {probe.verdict for probe in report.probes} == {"passed"}
    assert report.probes[0].measured == 0.0


@pytest.mark.parametrize("name", CHEATS)
def test_a_cheat_is_caught_by_the_probe_that_is_meant_for_it(reports, name):
    report = reports[name]
    assert report.verdict == "FAILED", report.because
    assert failed(report) == CHEATS[name][2], report.because


@pytest.mark.parametrize("name", UNVERIFIABLE)
def test_what_cannot_be_captured_is_not_judged_and_the_reason_is_told(reports, name):
    report = reports[name]
    assert (report.verdict, report.probes) == ("UNVERIFIABLE", ())
    assert re.match(UNVERIFIABLE[name][2], report.because), report.because
