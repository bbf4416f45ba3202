#!/bin/sh
# Runs a command in a copy of the tree that can be written: enter.sh COMMAND [ARGUMENT ...].
# The image's own tree and environment are never written to. The copy (CONTAINER_PLACE, /fairway if unset) takes the entries
# that it does not have yet, so that folders mounted there (data, results, records, logs) stay what they are; its .venv
# is the image's, which `make setup` therefore finds complete. Recipes mounted at /recipes go over the tree's own.
set -eu
tree=${CONTAINER_TREE:-/opt/fairway}
place=${CONTAINER_PLACE:-/fairway}
mkdir -p "$place"
for entry in "$tree"/* "$tree"/.[!.]*; do
  name=${entry##*/}
  if [ "$name" = .venv ]; then
    test -e "$place/.venv" || ln -s "$entry" "$place/.venv"
  elif [ ! -e "$place/$name" ]; then
    cp -R --preserve=mode,timestamps "$entry" "$place/"
  fi
done
if [ -d /recipes ]; then cp -R /recipes/. "$place/workflow/recipes/"; fi

# Kernels compiled into the image are of use to a run that cannot write where they lie.
kernels=${CONTAINER_KERNELS:-/var/cache/fairway}
if [ -d "$kernels" ] && [ ! -w "$kernels" ]; then
  cp -R "$kernels" /tmp/kernels
  TORCHINDUCTOR_CACHE_DIR=/tmp/kernels/inductor TRITON_CACHE_DIR=/tmp/kernels/triton
  export TORCHINDUCTOR_CACHE_DIR TRITON_CACHE_DIR
fi

cd "$place"
PYTHONPATH=$place/src
export PYTHONPATH
exec "$@"
