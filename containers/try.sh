#!/usr/bin/env bash
# Runs a command in an image as the image runs on a stranger's machine: try.sh NAME [COMMAND ...].
#
#   containers/try.sh cpu make record        containers/try.sh cpu make test        containers/try.sh judge check --help
#
# No network, root read-only, a user that is not root, /fairway and /tmp in memory. ENGINE chooses docker, podman or
# buildah; with buildah (which runs nothing of the sort by itself) the image is mounted and bubblewrap shuts it in.
# KEEP=FOLDER makes /fairway a folder of this machine, so that what the command leaves can be looked at.
set -euo pipefail
name=${1:?usage: containers/try.sh IMAGE [COMMAND ...]}
shift
cd "$(dirname "$0")/.."
image=$(sed -n "/^\[$name\]/,/^\[/s/^repository = \"\(.*\)\"/\1/p" containers/images.toml)
tag=$(sed -n "/^\[$name\]/,/^\[/s/^tag = \"\(.*\)\"/\1/p" containers/images.toml)
test -n "$image" || { echo "try.sh: containers/images.toml has no [$name]" >&2; exit 2; }

engine=${ENGINE:-}
for known in docker podman buildah; do
  if [ -z "$engine" ] && { "$known" version || { [ "$known" = buildah ] && buildah --version; }; } > /dev/null 2>&1; then
    engine=$known
  fi
done

case $engine in
  docker | podman)
    work=(--tmpfs "/fairway:exec,mode=1777")
    if [ -n "${KEEP:-}" ]; then work=(--volume "$(realpath "$KEEP"):/fairway"); fi
    called=$image:$tag@$("$engine" image inspect --format '{{.Id}}' "$image:$tag")
    exec "$engine" run --rm --network none --read-only --cap-drop ALL --security-opt no-new-privileges \
      "${work[@]}" --tmpfs "/tmp:exec,mode=1777" --env "CONTAINER_IMAGE=$called" "$image:$tag" "$@"
    ;;
  buildah) ;;
  *) echo "try.sh: none of docker, podman and buildah answers here" >&2; exit 2 ;;
esac

command -v bwrap > /dev/null || { echo "try.sh: with buildah it needs bwrap (package bubblewrap)" >&2; exit 2; }
container=$(buildah from --pull-never "localhost/$image:$tag")
# An engine writes this file; without it no process finds its neighbour on the same machine.
hosts=$(mktemp)
chmod 644 "$hosts"
echo "127.0.0.1 localhost fairway" > "$hosts"
trap 'buildah rm "$container" > /dev/null; rm -f "$hosts"' EXIT
root=$(buildah mount "$container")
say() { buildah inspect --type image --format "$1" "localhost/$image:$tag"; }
environment=()
while IFS= read -r pair; do
  if [ -n "$pair" ]; then environment+=(--setenv "${pair%%=*}" "${pair#*=}"); fi
done < <(say '{{range .OCIv1.Config.Env}}{{println .}}{{end}}')
environment+=(--setenv CONTAINER_IMAGE "$image:$tag@sha256:$(say '{{.FromImageID}}')")
mapfile -t entry < <(say '{{range .OCIv1.Config.Entrypoint}}{{println .}}{{end}}' | sed '/^$/d')
work=(--perms 1777 --tmpfs /fairway)
if [ -n "${KEEP:-}" ]; then work=(--bind "$(realpath "$KEEP")" /fairway); fi
bwrap --unshare-all --unshare-user --uid 1000 --gid 1000 --die-with-parent --new-session --clearenv "${environment[@]}" \
  --hostname fairway --ro-bind "$root" / --ro-bind "$hosts" /etc/hosts --dev /dev --proc /proc --perms 1777 --tmpfs /tmp "${work[@]}" --chdir /fairway \
  -- "${entry[@]}" "$@"
