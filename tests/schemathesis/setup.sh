#!/bin/sh
# Makes target/schemathesis-venv (or the directory given) with the versions of requirements.txt and prints the path
# of its schemathesis: tests/tools/venv.sh says how.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
sh "$here/../tools/venv.sh" "$here" schemathesis-venv schemathesis "${1:-}"
