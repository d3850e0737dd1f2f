#!/bin/sh
# Makes target/singer-venv (or the directory given) with the versions of requirements.txt and prints the path of its tap:
# tests/tools/venv.sh says how.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
sh "$here/../tools/venv.sh" "$here" singer-venv tap-rest-api-msdk "${1:-}"
