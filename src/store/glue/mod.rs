//! The traits on an engine: which pool, which lane, which unit. Compiled twice, as the units are.

use super::{Engine, Lane, Result, Scope, units};

mod identity;
mod jobs;
mod settings;
