//! `halo-sync serve`.

use std::net::SocketAddr;

use super::cli::flag;
use crate::config::Flag;

/// What is given to `serve`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show the whole thing without any account: a sandbox Stripe in this process, on loopback
    #[arg(long, conflicts_with = "no_worker")]
    pub demo: bool,
    /// Take requests and webhooks, and leave the jobs to other processes (setting worker.enabled)
    #[arg(long)]
    pub no_worker: bool,
    /// Address and port (setting server.listen)
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
}

impl Args {
    pub(super) fn settings(&self) -> Vec<Flag> {
        let mut settings = Vec::new();
        if self.no_worker {
            settings.push(flag("--no-worker", "worker.enabled", false));
        }
        if let Some(listen) = self.listen {
            settings.push(flag("--listen", "server.listen", listen));
        }
        settings
    }
}
