#!/bin/sh
# Makes target/backlot-venv (or the directory given) with the versions of requirements.txt and prints the path of its
# backlot: tests/tools/venv.sh says how.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
sh "$here/../tools/venv.sh" "$here" backlot-venv backlot "${1:-}"
