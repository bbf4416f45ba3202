#!/bin/sh
# Runs a command in a copy of the tree that can be written: enter.sh COMMAND [ARGUMENT ...].
# The image's own tree and environment are never written to. The copy (FAIRWAY_PLACE, /work if unset) takes what it does
# not have yet, so that folders mounted there (data, results, records, logs) stay what they are; its .venv is the
# image's, which `make setup` therefore finds complete. Recipes mounted at /recipes go over the tree's own.
set -eu
tree=/opt/fairway
place=${FAIRWAY_PLACE:-/work}
mkdir -p "$place"
for entry in "$tree"/* "$tree"/.[!.]*; do
  case ${entry##*/} in
    .venv) test -e "$place/.venv" || ln -s "$entry" "$place/.venv" ;;
    *) cp -R -n --preserve=mode,timestamps "$entry" "$place/" ;;
  esac
done
if [ -d /recipes ]; then cp -R /recipes/. "$place/workflow/recipes/"; fi
cd "$place"
PYTHONPATH=$place/src
export PYTHONPATH
exec "$@"
