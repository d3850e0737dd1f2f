#!/bin/sh
# Installs the peers of package.json at the versions of package-lock.json into target/bench-peers (or the
# directory given) and prints that directory. Does nothing when that was done before; an interrupted run is
# started over.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
peers=${1:-${CARGO_TARGET_DIR:-$root/target}/bench-peers}
wanted=$here/package-lock.json
stamp=$peers/installed-package-lock.json

if ! cmp -s "$wanted" "$stamp"; then
    rm -rf "$peers"
    mkdir -p "$peers"
    cp "$here/package.json" "$wanted" "$peers/"
    (cd "$peers" && npm ci --ignore-scripts --no-audit --no-fund --fetch-retries=1 >&2)
    cp "$wanted" "$stamp"
fi
printf '%s\n' "$peers"
