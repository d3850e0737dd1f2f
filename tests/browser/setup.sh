#!/bin/sh
# Makes target/browser-tools (or the directory given) with the versions of package.json and prints the path of its
# node_modules: tests/tools/npm.sh says how. The browser is the system's.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
sh "$here/../tools/npm.sh" "$here" browser-tools playwright-core "${1:-}"
