//! `halo-sync doctor`.

/// What is given to `doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Do not call providers
    #[arg(long)]
    pub offline: bool,
}
