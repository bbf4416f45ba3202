#!/bin/sh
# Fills the caches of compiled kernels: warm.sh RECIPE, run inside the gpu image on the kind of card that is to be used.
# No builder of images has a card at hand, so this is a step after the build (docs/containers.md): three steps of
# training compile every graph of the loop, and five minutes of evaluation those of the score. The run's files are in a
# recipe of its own, RECIPE-warm, and mean nothing.
set -eu
recipe=${1:?usage: warm.sh RECIPE [SECONDS]}
seconds=${2:-300}
cards=$(nvidia-smi --list-gpus 2> /dev/null | wc -l)
seed=1
cat > "workflow/recipes/$recipe-warm.toml" << DELTA
extends = "$recipe"
because = "compiles what the recipe runs; its scores mean nothing"
seeds = [$seed]

[train]
steps = 3
DELTA
set -- --profile workflow/profiles/local --nolock --config "gpus=$cards" --
snakemake "$@" "results/$recipe-warm/seed$seed/artifact.bin"
timeout "$seconds" snakemake "$@" "results/$recipe-warm/seed$seed/score.json" || test $? -eq 124
du -sh "${TORCHINDUCTOR_CACHE_DIR:-none}" "${TRITON_CACHE_DIR:-none}" 2> /dev/null || echo "no cache folders are named here"
