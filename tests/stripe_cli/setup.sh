#!/bin/sh
# Makes target/stripe-cli (or the directory given) with the version of package.json and prints the path of
# the program. Does nothing when that was done before; an interrupted run is started over. No script of a package
# is run: the program comes ready in the package of its platform.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
folder=${1:-${CARGO_TARGET_DIR:-$root/target}/stripe-cli}
wanted=$here/package.json
stamp=$folder/installed-package.json

program() {
    for found in "$folder"/node_modules/@stripe/cli-*/bin/stripe; do
        if [ -x "$found" ]; then
            printf '%s\n' "$found"
            return
        fi
    done
    return 1
}

if ! cmp -s "$wanted" "$stamp" || ! program >/dev/null; then
    mkdir -p "$(dirname "$folder")"
    # One at a time: tests and the build script may ask at once.
    exec 9>"$folder.lock"
    flock 9
    if ! cmp -s "$wanted" "$stamp" || ! program >/dev/null; then
        rm -rf "$folder"
        mkdir -p "$folder"
        cp "$wanted" "$folder/package.json"
        npm install --prefix "$folder" --no-package-lock --ignore-scripts --no-audit --no-fund --loglevel=error >&2
        cp "$wanted" "$stamp"
    fi
fi
program
