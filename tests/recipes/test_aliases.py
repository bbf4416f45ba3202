import tomllib

import pytest

from fairway.errors import RecipeError
from fairway.recipes.aliases import from_environment, stacks
from fairway.recipes.load import leaves, load_recipe, plain
from fairway.recipes.locate import recipe_folder

SPINQUANT = """
for SEED in 42 1337 2024; do
  SEED=${SEED} \\
  SPINQUANT_ENABLED=1 SPINQUANT_SEED=20260416 \\
  PHASED_TTT_ENABLED=1 PHASED_TTT_PREFIX_DOCS=2000 PHASED_TTT_NUM_PHASES=3 \\
  GLOBAL_TTT_LR=0.001 GLOBAL_TTT_MOMENTUM=0.9 GLOBAL_TTT_CHUNK_TOKENS=32768 \\
  GLOBAL_TTT_BATCH_SEQS=32 GLOBAL_TTT_GRAD_CLIP=1.0 \\
  ITERATIONS=20000 MATRIX_LR=0.026 WARMDOWN_FRAC=0.75 \\
  MLP_CLIP_SIGMAS=12.0 ATTN_CLIP_SIGMAS=13.0 EMBED_CLIP_SIGMAS=20.0 \\
  EMBED_BITS=7 TTT_CHUNK_SIZE=48 TTT_LORA_LAYER_LR_ALPHA=0.5 \\
  LORA_PLUS_RATIO=1.0 PARALLEL_LAMBDA_ASYM=0 VAL_LOSS_EVERY=20000 \\
  VOCAB_SIZE=8192 DATA_DIR=/workspace/data/ \\
  torchrun --standalone --nproc_per_node=8 train_gpt.py
done
"""
LOW_RANK_Q = (
    "rm -rf ~/.cache/torch/inductor_cache/; NUM_LAYERS=11 WEIGHT_DECAY=0.038 SEED=1337"
    " torchrun --nproc_per_node=8 train_gpt.py"
)
XSA_EMA = """
SEED=7 QAT=0 TTT_MAX_STEPS=500 TTT_FREEZE_BLOCKS=1 TRAIN_SEQ_LEN=2048 EVAL_SEQ_LEN=2048 \\
UNET_SKIPS=1 ROPE_DIMS=16 LN_SCALE=1 ROPE_BASE=10000 EVAL_STRIDE=32 DOC_ISOLATED_EVAL=0 \\
LATE_K_FP16=0 FP16_EMBED_EXPORT=0 \\
torchrun --standalone --nproc_per_node=8 train_gpt.py
"""


@pytest.mark.parametrize(
    ("stack", "command", "recipe"),
    [
        ("low-rank-q", LOW_RANK_Q, "low-rank-q"),
        ("xsa-ema", XSA_EMA, "xsa-ema"),
        ("banked", "SYMMIX_ENABLED=1 SEED=1337 torchrun --nproc_per_node=4 train_gpt.py", "symmix"),
        ("banked", "SYMMIX_ENABLED=0 SEED=1337 torchrun --nproc_per_node=4 train_gpt.py", "symmix-control"),
        ("sp8192", SPINQUANT, "spinquant-mpsgd"),
        ("sp8192", SPINQUANT.replace("SPINQUANT_ENABLED=1", "SPINQUANT_ENABLED=0"), "spinquant-mpsgd-no-rotation"),
    ],
)
def test_the_published_commands_come_to_the_recipes(stack, command, recipe):
    assert from_environment(stack, command).equals == recipe


def test_what_has_no_effect_is_said():
    notes = from_environment("xsa-ema", XSA_EMA).notes
    assert [note.split()[0] for note in notes] == ["TTT_MAX_STEPS", "TTT_FREEZE_BLOCKS"]
    assert all("before that text is scored: invalid" in note for note in notes)


def test_another_value_gives_a_delta_that_loads_to_the_same_recipe(tmp_path):
    found = from_environment("sp8192", SPINQUANT.replace("PHASED_TTT_ENABLED=1", "PHASED_TTT_ENABLED=0") + " SEED=9")
    assert found.equals is None
    path = tmp_path / "mine.toml"
    path.write_text(found.to_toml())
    ours, theirs = plain(load_recipe(path).recipe), plain(found.recipe)
    for name in ("name", "lineage"):
        del ours[name], theirs[name]
    assert ours == theirs
    assert theirs["score"]["method"]["kind"] == "lora" and theirs["seeds"] == [9]


def test_what_a_script_takes_with_nothing_set_differs_from_its_command():
    recipe = from_environment("sp8192", "PARALLEL_LAMBDA_ASYM=0").recipe
    assert (recipe.optim.muon.lr, recipe.score.method.kind, recipe.quant.rotation.kind) == (0.022, "lora", "none")


@pytest.mark.parametrize(
    ("stack", "command", "line"),
    [
        ("sp9999", "", "no stack is named 'sp9999'; there are banked, low-rank-q, sp8192, xsa-ema"),
        ("sp8192", "MATRX_LR=1", "MATRX_LR is not a variable of sp8192; did you mean MATRIX_LR?"),
        ("sp8192", "ZZ=1", "ZZ is not a variable of sp8192; known: ADAM_WD, "),
        ("sp8192", "EMBED_BITS=7.5", "EMBED_BITS must be an integer, got '7.5'"),
        ("sp8192", "MATRIX_LR=fast", "MATRIX_LR must be a number, got 'fast'"),
        ("sp8192", "SPINQUANT_ENABLED=2", "SPINQUANT_ENABLED must be one of 0, 1, got '2'"),
        ("sp8192", "", "PARALLEL_LAMBDA_ASYM must be one of 0, but the script takes '1' where it is not set"),
        ("sp8192", "PARALLEL_LAMBDA_ASYM=0 EMBED_BITS=9", "recipe sp8192: quant.embedding.bits must be 2..8, got 9"),
        ("sp8192", "MATRIX_LR='0.1", "the command cannot be read as a shell would: No closing quotation"),
    ],
)
def test_a_wrong_command_is_one_clear_line(stack, command, line):
    with pytest.raises(RecipeError) as caught:
        from_environment(stack, command)
    assert str(caught.value).startswith(line) and "\n" not in str(caught.value)


@pytest.mark.parametrize("stack", stacks())
def test_every_key_of_an_alias_file_is_a_key_of_the_recipe_that_it_extends(stack):

    table = tomllib.loads((recipe_folder() / "aliases" / f"{stack}.toml").read_text())
    known = set(leaves(plain(load_recipe(table["extends"]).recipe)))
    assert {*table["integers"].values(), *table["numbers"].values(), *leaves(table.get("defaults", {}))} <= known
