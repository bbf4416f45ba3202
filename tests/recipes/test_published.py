"""What the records of the field say of themselves, and what our recipes come to (recipes H)."""

from dataclasses import replace

import pytest
import torch

from fairway.model.depth import schedule, skip_slots
from fairway.model.gpt import Gpt
from fairway.model.parameters import parameter_count
from fairway.recipes.load import load_recipe, plain
from fairway.recipes.locate import recipe_names
from fairway.score.phases import phase_marks
from fairway.score.windows import Extent, length_batches, sliding_windows
from fairway.spec.mechanisms import NoSmear, SparseHeadGate
from fairway.spec.score import AheadPasses

COUNTS = {
    "naive-baseline": 17_059_912,
    "low-rank-q": 25_780_824,
    "low-rank-q-angles": 25_780_824 + 11 * 32 * 512,
    "xsa-ema": 26_829_913,
    "checkpoint-lab": 27_482_315,
    "ar-gptq": 27_067_484,
    "symmix": 26_993_778,
    "symmix-control": 26_993_756,
    "sp8192-loops": 35_943_512,  # its log; 7 skips and one lane, where later stacks have 8 and two
    "two-lane": 35_944_602,
    "varlen-lora-ttt": 35_944_602,
    "phased-sgd-ttt": 35_944_602,
    "spinquant-mpsgd": 35_944_602,
    "caseops-dense-gate": 35_989_658,
    "caseops-top": 35_945_671,
}
SP8192_TARGETS = 40_540_160

RATES = """
recipe             matrix scalar embed beta2 muon embed scalar clip batch  T    warmdown min ema   gain from/to/over
naive-baseline     .04    .04    .05   .95   0    0     0      0    524288 1024 1200     0   0     1.5  .85/.95/500
low-rank-q         .02    .02    .03   .95   .038 0     0      0    524288 1024 3000     0   0     1.5  .92/.99/1500
xsa-ema            .025   .025   .035  .95   .04  .04   .04    .3   524288 2048 3000     0   .997  1.5  .92/.99/1500
checkpoint-lab     .025   .025   .035  .95   .04  .04   .04    .3   524288 2048 3500     0   .997  1.5  .92/.99/1500
ar-gptq            .025   .025   .035  .95   .04  .04   .04    .3   786432 2048 4000     0   .997  1.5  .92/.99/1500
symmix             .025   .025   .035  .95   .04  .04   .04    .3   786432 2048 3500     0   .997  1.5  .92/.99/1500
sp8192-loops       .02    .02    .03   .95   .085 .085  .02    .3   786432 2048 .667     0   .997  4.0  .92/.99/1500
two-lane           .022   .02    .03   .95   .095 .095  .02    .3   786432 2048 .667     0   .997  5.0  .92/.97/1500
varlen-lora-ttt    .022   .02    .03   .95   .095 .085  .02    .3   786432 2048 .72      0   .9965 5.0  .92/.97/1500
phased-sgd-ttt     .026   .02    .03   .95   .095 .085  .02    .3   786432 2048 .75      0   .9965 5.0  .92/.97/1500
caseops-dense-gate .026   .02    .03   .95   .095 .085  .02    .3   786432 2048 .75      0   .9965 5.0  .92/.97/1500
spinquant-mpsgd    .026   .02    .03   .95   .095 .085  .02    .3   786432 2048 .75      0   .9965 5.0  .92/.97/1500
caseops-top        .026   .02    .03   .99   .095 .085  .02    .3   786432 2048 .85      .1  .9965 5.0  .92/.97/1500
"""
"""Rates, decays and schedule that the logs and scripts of the records show (recipes C.2)."""


def model_of(name):
    return load_recipe(name).recipe.model


@pytest.mark.parametrize("name", COUNTS)
def test_a_model_has_exactly_the_parameters_of_its_record(name):
    assert parameter_count(model_of(name)) == COUNTS[name]


def test_the_module_holds_what_the_count_says():
    with torch.device("meta"):
        for name in recipe_names():
            model = Gpt(model_of(name))
            assert sum(p.numel() for p in model.parameters()) == parameter_count(model.spec)


def test_the_gates_of_1787_cost_what_they_say():
    stack = replace(model_of("phased-sgd-ttt"), smear=NoSmear())
    assert parameter_count(replace(stack, head_gate=SparseHeadGate())) == 35_944_602 + 11 * 8 * 12


def test_the_stack_of_1695_has_its_counts_part_by_part():
    with torch.device("meta"):
        counts = {name: p.numel() for name, p in Gpt(model_of("spinquant-mpsgd")).named_parameters()}
    matrices = {"embedding": 4_194_304, "qo_bank": 5_767_168, "kv_bank": 2_883_584, "up_bank": 11_534_336}
    assert counts.items() >= (matrices | {"down_bank": 11_534_336, "lane_mix": 44, "lane_decay": 22}).items()
    assert counts["skip_weight"] == counts["skip_gate"] == 8 * 512
    assert sum(counts.values()) - sum(matrices.values()) - 11_534_336 == 30_874


def test_loops_run_in_the_published_order():
    early, late = model_of("sp8192-loops"), model_of("spinquant-mpsgd")
    assert schedule(early, looped=True) == ((0, 1, 2, 3, 4, 5, 4), (5, 4, 5, 6, 7, 8, 9, 10))
    assert schedule(late, looped=True) == ((0, 1, 2, 3, 4, 5, 3, 4), (5, 3, 4, 5, 6, 7, 8, 9, 10))
    assert schedule(late, looped=False) == ((0, 1, 2, 3, 4), (5, 6, 7, 8, 9, 10))
    assert (skip_slots(early), skip_slots(late)) == (7, 8)
    assert (early.loops.start_fraction, late.loops.start_fraction) == (0.5, 0.35)


def test_the_recurrent_stack_runs_three_layers_three_times():
    assert schedule(model_of("xsa-ema-recurrent"), looped=True).slots == (0, 1, 2) * 3


def test_every_target_of_sp8192_is_in_one_of_633409_windows():
    spans = list(sliding_windows(SP8192_TARGETS, 2048, 64))
    assert len(spans) == 633_409
    assert spans[0].start == 1 and spans[-1].stop == SP8192_TARGETS + 1
    assert all(a.stop == b.start for a, b in zip(spans, spans[1:], strict=False))


@pytest.mark.parametrize(("targets", "chunks"), [(62_021_632, 1_893), (SP8192_TARGETS, 1_238)])
def test_streams_have_the_published_number_of_chunks(targets, chunks):
    assert -(-targets // model_chunk("spinquant-mpsgd")) == chunks


def model_chunk(name):
    return load_recipe(name).recipe.score.method.chunk_tokens


def test_fifty_thousand_documents_are_adapted_in_782_batches():
    lora = load_recipe("spinquant-mpsgd").recipe.score.method.lora
    extents = [Extent(10 * i, 10 * i + 5 + i % 7) for i in range(50_000)]
    batches = length_batches(extents, lora.batch_docs)
    assert len(batches) == 782
    assert sorted(i for batch in batches for i in batch) == list(range(50_000))


@pytest.mark.parametrize(
    ("name", "marks"), [("spinquant-mpsgd", [666, 1333, 2000]), ("caseops-top", [833, 1666, 2500])]
)
def test_phases_end_at_the_published_documents(name, marks):
    method = load_recipe(name).recipe.score.method
    assert phase_marks(method.prefix_docs, method.phases) == marks


def test_the_way_over_its_parents_leads_to_the_root_again():
    there, root = plain(load_recipe("spinquant-mpsgd").recipe), plain(load_recipe("baseline").recipe)
    for name in ("name", "lineage"):
        del there[name], root[name]
    assert there == root


@pytest.mark.parametrize("row", RATES.strip().splitlines()[1:], ids=lambda row: row.split()[0])
def test_rates_and_schedule_are_those_of_the_record(row):
    name, *numbers, momentum = row.split()
    recipe = load_recipe(name).recipe
    muon, adam, optim = recipe.optim.muon, recipe.optim.adam, recipe.optim
    found = [
        *(muon.lr, adam.scalar_lr, adam.embed_lr, adam.beta2),
        *(muon.weight_decay, adam.embed_weight_decay, adam.scalar_weight_decay, optim.grad_clip),
        *(recipe.train.batch_tokens, recipe.train.context, optim.warmdown_steps or optim.warmdown_fraction),
        *(optim.min_lr, optim.ema_decay, recipe.model.qk_gain),
    ]
    assert found == [float(number) for number in numbers]
    told = (muon.momentum_start, muon.momentum, muon.momentum_warmup_steps)
    assert told == tuple(float(number) for number in momentum.split("/"))
    assert (adam.beta1, adam.eps, muon.newton_schulz_steps) == (0.9, 1e-8, 5)
    assert recipe.score.context == recipe.train.context
    assert recipe.train.micro_batch_tokens * 8 == recipe.train.batch_tokens  # a micro-batch a GPU, on eight of them


STARTS = {  # from the scripts: MuonEq-R, who divides Muon's work, the loader
    "naive-baseline": (False, "round_robin", "contiguous"),
    "low-rank-q": (False, "round_robin", "contiguous"),
    "xsa-ema": (False, "round_robin", "contiguous"),
    "checkpoint-lab": (False, "round_robin", "contiguous"),
    "ar-gptq": (False, "sharded", "contiguous"),
    "symmix": (False, "sharded", "contiguous"),
    "sp8192-loops": (True, "round_robin", "shuffled"),
    "two-lane": (True, "sharded", "shuffled"),
    "varlen-lora-ttt": (True, "sharded", "packed"),
    "phased-sgd-ttt": (True, "sharded", "packed"),
    "spinquant-mpsgd": (True, "sharded", "packed"),
    "caseops-top": (True, "sharded", "packed"),
}


@pytest.mark.parametrize("name", STARTS)
def test_engine_and_loader_are_those_of_the_record(name):
    recipe = load_recipe(name).recipe
    assert (recipe.optim.muon.row_normalise, recipe.optim.muon.engine, recipe.train.batching) == STARTS[name]


@pytest.mark.parametrize(
    ("name", "reserve_s", "batches"),
    [
        ("sp8192-loops", 12.0, 64),
        ("two-lane", 13.0, 64),
        ("varlen-lora-ttt", 13.0, 64),
        ("phased-sgd-ttt", 4.0, 16),
        ("spinquant-mpsgd", 13.0, 64),
        ("caseops-top", 8.0, 16),  # 0.5 s in #1855; #1868 ran it again with 8
    ],
)
def test_seconds_kept_for_calibration_are_those_of_the_record(name, reserve_s, batches):
    train = load_recipe(name).recipe.train
    assert (train.reserve_s, train.calibration_batches) == (reserve_s, batches)


def test_recipes_hold_out_the_competitions_documents_and_read_its_exports():
    for name in COUNTS:
        data = load_recipe(name).recipe.data
        assert data.val_docs == 50_000 and data.corpus.kind == "hub"
        assert data.transform == ("caseops" if name.startswith("caseops") else "none")
    assert load_recipe("symmix").recipe.data.corpus.train_shards == 10


@pytest.mark.parametrize("name", recipe_names())
def test_halves_and_skips_of_every_recipe_add_up(name):
    spec = model_of(name)
    for looped in (False, True):
        depth = schedule(spec, looped=looped)
        assert sorted(set(depth.slots)) == list(range(spec.layers))
        assert len(depth.encoder) == len(depth.slots) // 2
    if name in ("two-lane", "varlen-lora-ttt", "phased-sgd-ttt", "spinquant-mpsgd", "caseops-top"):
        assert (len(depth.encoder), len(depth.decoder), skip_slots(spec)) == (8, 9, 8)
    elif spec.layers == 11 and spec.loops.kind == "none":
        assert (len(depth.encoder), len(depth.decoder)) == (5, 6)


@pytest.mark.parametrize("name", COUNTS)
def test_a_recipe_of_the_table_names_its_record(name):
    assert load_recipe(name).recipe.lineage.sources


@pytest.mark.parametrize("name", recipe_names())
def test_all_ranks_score_where_the_competition_scores(name):
    recipe = load_recipe(name).recipe
    if recipe.track in ("10min_16mb", "non_record_16mb"):
        assert recipe.score.ranks == "all"


@pytest.mark.parametrize("name", recipe_names())
def test_only_a_recipe_that_says_so_in_its_reason_learns_ahead_and_never_on_the_record_track(name):
    recipe = load_recipe(name).recipe
    learns_ahead = isinstance(recipe.score.method, AheadPasses)
    assert learns_ahead == recipe.lineage.because.startswith("INVALID: ")
    assert not (learns_ahead and recipe.track == "10min_16mb")


def test_evaluations_are_those_of_the_records():
    lanes, top, seed = (
        load_recipe(name).recipe.score.method for name in ("two-lane", "caseops-top", "spinquant-mpsgd")
    )
    assert (lanes.lr, lanes.epochs, lanes.chunk_tokens, lanes.hash_rows) == (0.01, 3, 32_768, 16_384)
    table = lanes.hash_rows * model_of("two-lane").width
    assert parameter_count(model_of("two-lane")) + table == 44_333_210  # unfrozen, in the log of #1529
    lora = top.lora
    assert (lora.rank, lora.alpha, lora.keep_a, lora.beta1, lora.beta2) == (80, 144.0, True, 0.0, 0.99)
    assert (lora.lr, lora.weight_decay, lora.chunk, lora.slot_lr_slope) == (1e-4, 0.5, 48, 0.0)
    as_it_ran = load_recipe("spinquant-mpsgd-adam").recipe.score.method
    assert (seed.lora.optimizer, as_it_ran.lora.optimizer) == ("adamw", "adam")
    assert replace(as_it_ran, lora=replace(as_it_ran.lora, optimizer="adamw")) == seed
    assert load_recipe("varlen-lora-ttt").recipe.score.method.chunk == 32


def test_what_212_learned_ahead_takes_its_steps():
    method = load_recipe("xsa-ema-invalid-ttt").recipe.score.method
    assert (method.stride, method.batch_rows, method.most_steps, method.order) == (32, 32, 500, "drawn")
    first = method.first
    assert (first.optimizer, first.lr, first.momentum, first.epochs, first.blocks) == ("sgd", 0.002, 0.9, 3, 1)
    assert not first.falls
