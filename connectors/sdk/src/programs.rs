//! Programs of others that connectors may run, as the operator of the server allows it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Which programs may be run, and within which limits. None, unless the operator says so: who makes a connection
/// must not choose what runs on the server.
#[derive(Debug, Clone)]
pub struct Programs {
    /// Absolute paths by the names that connections use.
    pub by_name: BTreeMap<String, PathBuf>,
    /// The command that a program is run under: it is given the limits, the program and its arguments, and ends the
    /// program and everything that it started when its own standard input ends.
    pub keeper: Vec<OsString>,
    /// Variables of the environment that a program gets, beside those that its connector sets.
    pub env: Vec<(OsString, OsString)>,
    /// Bytes of address space.
    pub memory: u64,
    /// How long one run of a program may take.
    pub total: Duration,
    /// How long a program may say nothing.
    pub idle: Duration,
    /// Bytes of a line.
    pub line: usize,
}

impl Default for Programs {
    fn default() -> Self {
        Self {
            by_name: BTreeMap::new(),
            keeper: Vec::new(),
            env: Vec::new(),
            memory: 2 << 30,
            total: Duration::from_secs(6 * 3_600),
            idle: Duration::from_secs(600),
            line: 8 << 20,
        }
    }
}
