#!/bin/sh
# Makes target/prism (or the directory given) with the version of package.json and prints the path of Prism's program,
# which is started with `node`: tests/tools/npm.sh says how.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
modules=$(sh "$here/../tools/npm.sh" "$here" prism .bin/prism "${1:-}")
printf '%s\n' "$modules/.bin/prism"
