//! `halo-sync worker`.

use super::cli::flag;
use crate::config::Flag;

/// What is given to `worker`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Jobs at once (setting worker.concurrency)
    #[arg(long, value_name = "N")]
    pub concurrency: Option<usize>,
}

impl Args {
    pub(super) fn settings(&self) -> Vec<Flag> {
        self.concurrency.map(|n| flag("--concurrency", "worker.concurrency", n)).into_iter().collect()
    }
}
