#!/bin/sh
# venv.sh HERE NAME WANTED [FOLDER]: makes target/NAME (or FOLDER), a Python environment with the versions of
# HERE/requirements.txt, and prints the path of its program WANTED. Does nothing when that was done before; an
# interrupted run is started over.
set -eu
here=$1
name=$2
wanted=$3
root=$(cd "$(dirname "$0")/../.." && pwd)
venv=${4:-${CARGO_TARGET_DIR:-$root/target}/$name}
requirements=$here/requirements.txt
stamp=$venv/installed-requirements.txt

made() {
    # A Python that the system has replaced leaves an environment that starts nothing.
    cmp -s "$requirements" "$stamp" && [ -x "$venv/bin/$wanted" ] && "$venv/bin/python" -c '' 2>/dev/null
}

if ! made; then
    mkdir -p "$(dirname "$venv")"
    # One at a time: tests may ask at once.
    exec 9>"$venv.lock"
    flock 9
    if ! made; then
        rm -rf "$venv"
        python3 -m venv "$venv" >&2
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
            --requirement "$requirements" >&2
        cp "$requirements" "$stamp"
    fi
fi
printf '%s\n' "$venv/bin/$wanted"
