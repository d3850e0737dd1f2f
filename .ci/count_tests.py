#!/usr/bin/env python3
"""Fails when a crate of the workspace ran no test.

usage: count_tests.py BINARIES LOG

BINARIES is the output of `cargo test --no-run --message-format=json` (which package a test binary belongs
to), LOG the merged output of `cargo test`. A crate that silently ran nothing looks exactly like one that
passed: this is what tells them apart.
"""

import json
import os
import re
import subprocess
import sys


def main(binaries_path: str, log_path: str) -> int:
    metadata = json.loads(
        subprocess.check_output(["cargo", "metadata", "--format-version=1", "--no-deps", "--locked"])
    )
    members = set(metadata["workspace_members"])
    names = {package["id"]: package["name"] for package in metadata["packages"] if package["id"] in members}
    # Doc-tests are announced by the library's name alone.
    libraries = {
        target["name"]: package["id"]
        for package in metadata["packages"]
        for target in package["targets"]
        if {"lib", "rlib", "proc-macro"} & set(target["kind"])
    }

    owners = {}
    with open(binaries_path, encoding="utf-8") as lines:
        for line in lines:
            message = json.loads(line)
            if message.get("reason") == "compiler-artifact" and message.get("executable"):
                owners[os.path.basename(message["executable"])] = message["package_id"]

    ran = dict.fromkeys(names, 0)
    current = None
    with open(log_path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if found := re.match(r"\s+Running .*\((\S+)\)\s*$", line):
                current = owners.get(os.path.basename(found[1]))
                if current is None:
                    print(f"no package is known for the test binary {found[1]}", file=sys.stderr)
                    return 1
            elif found := re.match(r"\s+Doc-tests (\S+)\s*$", line):
                current = libraries[found[1]]
            elif found := re.match(r"test result: \w+\. (\d+) passed; (\d+) failed;", line):
                if current is None:
                    print(f"a result without a binary: {line.strip()}", file=sys.stderr)
                    return 1
                ran[current] += int(found[1]) + int(found[2])

    for package, count in sorted(ran.items(), key=lambda item: names[item[0]]):
        print(f"{names[package]:<24} {count:>6} tests")
    empty = sorted(names[package] for package, count in ran.items() if count == 0)
    if empty:
        print(f"ran 0 tests: {', '.join(empty)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], sys.argv[2]))
