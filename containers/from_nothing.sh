#!/usr/bin/env bash
# From Debian's archive and a package index to images that were tried: from_nothing.sh [cpu] [judge]
#
# Makes a base (debootstrap), builds the image on it (buildah, chroot isolation), and runs in it, without a network, what
# the image is for: the checker on the committed record, and in the cpu image `make record` and `make test`. Prints how
# long each took and how large the images are. Needs root, debootstrap, buildah, bubblewrap; about 8 GB and, on two cores,
# the better part of an hour. QUICK=yes leaves `make record` and `make test` out.
set -euo pipefail
cd "$(dirname "$0")/.."
names=("$@")
if [ ${#names[@]} -eq 0 ]; then names=(judge cpu); fi
export ENGINE=buildah
table=()

# Runs a step, lets it speak on standard error, and notes its seconds.
step() {
  local what=$1
  shift
  local since=$SECONDS
  "$@" >&2
  table+=("$(printf '%-24s %6d s' "$what" $((SECONDS - since)))")
}

record=$(find records/track_pocket -mindepth 1 -maxdepth 1 -type d | sort | head -n 1)
for name in "${names[@]}"; do
  step "$name: base" containers/build_base.sh "$name"
  step "$name: image" make container IMAGES="$name" BASE="localhost/fairway-base-$name" FRESH=yes
  case $name in
    judge)
      place=$(mktemp -d)
      cp -R --parents "$record" "$place"
      KEEP=$place step "$name: fairway check" containers/try.sh judge check "$record"
      rm -rf "$place"
      ;;
    cpu)
      step "$name: fairway check" containers/try.sh cpu fairway check "$record"
      if [ "${QUICK:-}" != yes ]; then
        step "$name: make record" containers/try.sh cpu make record
        step "$name: make test" containers/try.sh cpu make test
      fi
      ;;
  esac
  size=$(buildah images --filter "reference=localhost/fairway-$name" --format '{{.Size}}' | head -n 1)
  archive=$(du -m "build/containers/fairway-$name.tar" | cut -f 1)
  table+=("$(printf '%-24s %s unpacked, %s MB as an archive' "$name: size" "$size" "$archive")")
done
printf '%s\n' "${table[@]}"
