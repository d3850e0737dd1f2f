#!/bin/sh
# Makes target/singer-venv (or the directory given) with the versions of requirements.txt and prints the path
# of its tap. Does nothing when that was done before; an interrupted run is started over.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
venv=${1:-${CARGO_TARGET_DIR:-$root/target}/singer-venv}
wanted=$here/requirements.txt
stamp=$venv/installed-requirements.txt

if ! cmp -s "$wanted" "$stamp"; then
    mkdir -p "$(dirname "$venv")"
    exec 9>"$venv.lock"
    flock 9
    if ! cmp -s "$wanted" "$stamp"; then
        rm -rf "$venv"
        python3 -m venv "$venv" >&2
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
            --requirement "$wanted" >&2
        cp "$wanted" "$stamp"
    fi
fi
printf "%s\n" "$venv/bin/tap-rest-api-msdk"
