//! The tests' throwaway Postgres, for benchmarks.

#[path = "../../tests/it/support/clock.rs"]
pub mod clock;
#[path = "../../tests/it/support/postgres.rs"]
pub mod postgres;
#[path = "../../tests/it/support/required.rs"]
mod required;

pub(crate) use required::required;
