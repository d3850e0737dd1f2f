//! The integration tests: one binary, one module an area.

mod prompt;
mod render_cases;
mod jobs;
mod store;
mod support;
