//! `halo-sync derive`.

use std::path::PathBuf;

use super::cli::STDIN_HINT;

/// What is given to `derive`.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("of").required(true).args(["company", "input"])))]
pub struct Args {
    /// Which company: its id (`cmp_…`) or the id that your product gave
    #[arg(long)]
    pub company: Option<String>,
    /// A case, an array of cases or a case file as JSON; answers one JSON object a line
    #[arg(long, value_name = STDIN_HINT)]
    pub input: Option<PathBuf>,
    /// Show the sum line by line: source records, rules, what lost and why
    #[arg(long)]
    pub explain: bool,
}
