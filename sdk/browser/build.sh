#!/bin/sh
# Builds the two files that the program embeds from their one source, into dist/ or the directory given. What is
# committed there must be what this makes: a test compares.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
modules=$(sh "$here/../../tests/browser/setup.sh")
out=${1:-$here/dist}
cd "$here"
for file in v1.js:iife v1.mjs:esm; do
    "$modules/.bin/esbuild" "${file%:*}" --bundle --minify --mangle-props=^_ --format="${file#*:}" --target=es2020 \
        --charset=utf8 --legal-comments=none --log-level=warning --outfile="$out/${file%:*}"
done
