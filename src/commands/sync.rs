//! `halo-sync sync`.

/// What is given to `sync`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which connection: its id (`con_…`) or name
    #[arg(value_name = "CONN")]
    pub connection: String,
    /// Read everything again
    #[arg(long)]
    pub full: bool,
    /// Only this stream; may be given more than once
    #[arg(long = "stream", value_name = "STREAM")]
    pub streams: Vec<String>,
    /// Read and compare, write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// End with exit code 10 when something would change
    #[arg(long, requires = "dry_run")]
    pub exit_code: bool,
}
