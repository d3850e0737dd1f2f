#!/bin/sh
# npm.sh HERE NAME WANTED [FOLDER]: makes target/NAME (or FOLDER) with the versions of HERE/package.json and prints its
# node_modules. WANTED is a path in there, which may hold a *, that tells whether it was made. Does nothing when that was
# done before; an interrupted run is started over. No script of a package is run: what is a program comes ready in the
# package of its platform.
set -eu
here=$1
name=$2
wanted=$3
root=$(cd "$(dirname "$0")/../.." && pwd)
folder=${4:-${CARGO_TARGET_DIR:-$root/target}/$name}
package=$here/package.json
stamp=$folder/installed-package.json

made() {
    cmp -s "$package" "$stamp" || return 1
    # The * of WANTED stands for what it finds.
    for found in "$folder"/node_modules/$wanted; do
        if [ -e "$found" ]; then return 0; fi
    done
    return 1
}

if ! made; then
    mkdir -p "$(dirname "$folder")"
    # One at a time: tests and build scripts may ask at once.
    exec 9>"$folder.lock"
    flock 9
    if ! made; then
        rm -rf "$folder"
        mkdir -p "$folder"
        cp "$package" "$folder/package.json"
        npm install --prefix "$folder" --no-package-lock --ignore-scripts --no-audit --no-fund --loglevel=error >&2
        cp "$package" "$stamp"
    fi
fi
printf '%s\n' "$folder/node_modules"
