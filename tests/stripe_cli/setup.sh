#!/bin/sh
# Makes target/stripe-cli (or the directory given) with the version of package.json and prints the path of
# the program: tests/tools/npm.sh says how.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
program='@stripe/cli-*/bin/stripe'
modules=$(sh "$here/../tools/npm.sh" "$here" stripe-cli "$program" "${1:-}")
for found in "$modules"/$program; do
    if [ -x "$found" ]; then
        printf '%s\n' "$found"
        exit 0
    fi
done
echo "npm gave no program for this platform" >&2
exit 1
