#!/bin/sh
# Makes target/browser-tools (or the directory given) with the versions of package.json and prints the path of its
# node_modules. Does nothing when that was done before; an interrupted run is started over. No script of a package is
# run: what is a program comes ready in the package of its platform, and the browser is the system's.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
folder=${1:-${CARGO_TARGET_DIR:-$root/target}/browser-tools}
wanted=$here/package.json
stamp=$folder/installed-package.json
modules=$folder/node_modules

if ! cmp -s "$wanted" "$stamp" || [ ! -d "$modules/playwright-core" ]; then
    mkdir -p "$(dirname "$folder")"
    # One at a time: tests and the build script may ask at once.
    exec 9>"$folder.lock"
    flock 9
    if ! cmp -s "$wanted" "$stamp" || [ ! -d "$modules/playwright-core" ]; then
        rm -rf "$folder"
        mkdir -p "$folder"
        cp "$wanted" "$folder/package.json"
        npm install --prefix "$folder" --no-package-lock --ignore-scripts --no-audit --no-fund --loglevel=error >&2
        cp "$wanted" "$stamp"
    fi
fi
printf '%s\n' "$modules"
