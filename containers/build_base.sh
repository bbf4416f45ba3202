#!/usr/bin/env bash
# Makes a base image from Debian's archive alone, for a machine that reaches no registry of images.
#
# usage: containers/build_base.sh NAME [FOLDER]
#   NAME    the image that is to stand on it (cpu or judge): its Containerfile says which packages it needs
#   FOLDER  where the tree of files is laid out (removed afterwards); a new one under TMPDIR if absent
#
# Needs root, debootstrap and buildah. The image is called localhost/fairway-base-NAME. Debian's archive changes from
# day to day: what makes two builds alike is that they stand on the same base, not that two bases are the same.
set -euo pipefail
name=${1:?usage: containers/build_base.sh cpu|judge [FOLDER]}
cd "$(dirname "$0")/.."
packages=$(sed -n 's/^ARG PACKAGES="\(.*\)"$/\1/p' "containers/$name.Containerfile")
test -n "$packages" || { echo "build_base.sh: containers/$name.Containerfile names no ARG PACKAGES" >&2; exit 2; }
for tool in debootstrap buildah; do
  command -v "$tool" > /dev/null || { echo "build_base.sh: needs $tool (a package of that name)" >&2; exit 2; }
done
folder=${2:-$(mktemp -d)}
trap 'rm -rf "$folder"' EXIT
SECONDS=0

debootstrap --variant=minbase --include="${packages// /,}" bookworm "$folder" > "$folder.log" 2>&1 \
  || { tail -n 5 "$folder.log" >&2; exit 1; }
rm -f "$folder.log"

# What differs from one run to the next, or is of use to this machine only.
rm -rf "$folder"/var/lib/apt/lists/* "$folder"/var/cache/{apt,debconf,ldconfig}/* "$folder"/var/log/* \
  "$folder"/var/lib/dpkg/*-old "$folder"/var/lib/systemd/* "$folder"/etc/{passwd,group,shadow,gshadow}- \
  "$folder"/usr/share/{doc,man,locale}/* "$folder"/tmp/*
: > "$folder/etc/hostname"
: > "$folder/etc/resolv.conf"
: > "$folder/etc/machine-id"
# debootstrap copies its mirror into sources.list; whoever wants apt in the image says where from.
: > "$folder/etc/apt/sources.list"
install -m 755 containers/tidy.sh "$folder/tidy.sh"
chroot "$folder" /tidy.sh /usr/lib/python3 /usr/lib/python3.11
rm "$folder/tidy.sh"

container=$(buildah from scratch)
tar --sort=name --numeric-owner -C "$folder" -c . > "$folder.tar"
rm -rf "$folder"
buildah add -q "$container" "$folder.tar" / > /dev/null
rm "$folder.tar"
buildah config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin --env LANG=C.UTF-8 "$container"
buildah commit -q --rm --timestamp 0 "$container" "localhost/fairway-base-$name" > /dev/null
id=$(buildah inspect --type image --format '{{.FromImageID}}' "localhost/fairway-base-$name")
size=$(buildah images --format '{{.Size}}' "localhost/fairway-base-$name")
echo "localhost/fairway-base-$name  $size  ${SECONDS} s  id sha256:$id"
