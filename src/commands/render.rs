//! `halo-sync render`.

use std::path::PathBuf;

use super::cli::STDIN_HINT;

/// What is given to `render`.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("of").required(true).multiple(true).args(["company", "user", "input"])))]
pub struct Args {
    /// Which company [default: the user's]
    #[arg(long, conflicts_with = "input")]
    pub company: Option<String>,
    /// Which end user
    #[arg(long, conflicts_with = "input")]
    pub user: Option<String>,
    /// A case, an array of cases or a case file as JSON; answers one JSON object a line
    #[arg(long, value_name = STDIN_HINT)]
    pub input: Option<PathBuf>,
    /// Say where each line comes from, what lost and what was left out
    #[arg(long)]
    pub explain: bool,
    /// Largest size of the text, in tokens as docs/prompt-format.md counts them
    #[arg(long, value_name = "N")]
    pub budget: Option<usize>,
}
