#!/bin/sh
# Makes target/localstripe-venv (or the directory given) with the versions of requirements.txt and prints
# the path of its Python: tests/tools/venv.sh says how.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
sh "$here/../tools/venv.sh" "$here" localstripe-venv python "${1:-}"
