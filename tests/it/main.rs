//! The integration tests: one binary, one module an area.

mod http_base;
mod prompt;
mod render_cases;
