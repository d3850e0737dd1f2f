#!/usr/bin/env python3
"""Checks the dependency tree against deny.toml: licences, banned crates, sources.

It judges the part of deny.toml that needs no advisory database, so that every checkout can be judged without
another tool; `cargo deny check` reads the same file and judges all of it.
"""

import json
import re
import subprocess
import sys
import tomllib


def allowed(expression: str, allow: set[str]) -> bool:
    """Whether an SPDX expression is satisfied by the allowed licences. `/` is the old spelling of `OR`."""
    tokens = re.findall(r"[()]|[A-Za-z0-9.+-]+", expression.replace("/", " OR "))
    position = 0

    def peek() -> str | None:
        return tokens[position] if position < len(tokens) else None

    def take() -> str:
        nonlocal position
        token = peek()
        if token is None:
            raise ValueError(f"{expression!r} ends early")
        position += 1
        return token

    def term() -> bool:
        token = take()
        if token == "(":
            value = either()
            if take() != ")":
                raise ValueError(f"{expression!r} lacks a )")
            return value
        if peek() == "WITH":
            take()
            token = f"{token} WITH {take()}"
        return token in allow

    def both() -> bool:
        value = term()
        while peek() == "AND":
            take()
            value = term() and value
        return value

    def either() -> bool:
        value = both()
        while peek() == "OR":
            take()
            value = both() or value
        return value

    value = either()
    if peek() is not None:
        raise ValueError(f"{expression!r} goes on with {peek()!r}")
    return value


def self_check() -> None:
    """A check that cannot fail is none: the evaluator is held to known answers each time."""
    allow = {"MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"}
    for expression, answer in {
        "MIT": True,
        "GPL-3.0": False,
        "MIT OR GPL-3.0": True,
        "MIT AND GPL-3.0": False,
        "MIT/GPL-3.0": True,
        "GPL-3.0 OR MIT AND Apache-2.0": True,
        "(GPL-3.0 OR MIT) AND ISC": False,
        "Apache-2.0 WITH LLVM-exception": True,
        "MIT WITH LLVM-exception": False,
    }.items():
        if allowed(expression, allow) != answer:
            sys.exit(f"the licence evaluator is wrong about {expression!r}")


def main() -> int:
    self_check()
    with open("deny.toml", "rb") as file:
        rules = tomllib.load(file)
    allow = set(rules["licenses"]["allow"])
    clarified = {entry["crate"]: entry["expression"] for entry in rules["licenses"].get("clarify", [])}
    banned = {entry["crate"]: entry["reason"] for entry in rules["bans"]["deny"]}
    registries = {f"registry+{url}" for url in rules["sources"]["allow-registry"]}

    metadata = json.loads(subprocess.check_output(["cargo", "metadata", "--format-version=1", "--locked"]))
    members = set(metadata["workspace_members"])
    wrong = []
    outside = [package for package in metadata["packages"] if package["id"] not in members]
    for package in outside:
        name = f"{package['name']} {package['version']}"
        if package["source"] not in registries:
            wrong.append(f"{name}: comes from {package['source'] or 'a path'}, not from an allowed registry")
        if package["name"] in banned:
            wrong.append(f"{name}: banned: {banned[package['name']]}")
        licence = clarified.get(package["name"]) or package["license"]
        if not licence:
            wrong.append(f"{name}: names no licence; add a [[licenses.clarify]] to deny.toml after reading it")
        elif not allowed(licence, allow):
            wrong.append(f"{name}: licence {licence} is not allowed")
    for line in wrong:
        print(line, file=sys.stderr)
    print(f"{len(outside)} crates from outside, {len(wrong)} findings")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
