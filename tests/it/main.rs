//! The integration tests: one binary, one module an area.

mod jobs;
mod prompt;
mod render_cases;
mod store;
mod support;
