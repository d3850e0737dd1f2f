# Shortcuts for `just`; nothing here does what the plain command beside it would not.

# List the recipes.
default:
    @just --list

# Everything that must hold before a change is done.
ci:
    bash .ci/run

# Run the tests of every crate.
test *args:
    cargo test {{args}}

# Format and lint.
lint:
    cargo fmt --all
    cargo clippy --workspace --all-targets --locked -- -D warnings

# See the whole thing work, without any account.
demo:
    cargo run --release -- serve --demo

# Look at changed snapshots after a deliberate change of what people see.
snapshots:
    cargo insta review
