#!/bin/sh
# Compiles the Python files under the folders again so that the same sources give the same bytes.
# By default a .pyc holds the date of its source, which a layer does not keep: each start would compile it anew. Here it
# holds the source's hash, unchecked (the image is read-only), from one process that hashes strings alike every time.
set -eu
for folder in "$@"; do
  find "$folder" -name __pycache__ -prune -exec rm -rf {} +
  # Exit status 1: some packages carry test data that is no Python 3; those files are never imported.
  PYTHONHASHSEED=0 python3 -m compileall -q -q -f --invalidation-mode unchecked-hash "$folder" || test $? -eq 1
done
