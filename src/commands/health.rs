//! `halo-sync health`.

use std::path::PathBuf;

use super::cli::STDIN_HINT;
use super::{App, CommandError, ExitCode, read_text};
use crate::derive::cases::CaseError;
use crate::derive::health::{cases, explain_health};

/// What is given to `health`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A case, an array of cases or a case file as JSON; answers one JSON object a line
    #[arg(long, value_name = STDIN_HINT)]
    pub input: PathBuf,
    /// Show every signal: what it was counted from and what it brings
    #[arg(long)]
    pub explain: bool,
}

/// Answers cases from a file. Needs neither settings nor a database.
///
/// # Errors
///
/// A case that is not understood, which names the member. Cases before it are answered.
pub fn run(app: &App, args: &Args) -> Result<(), CommandError> {
    let wrong = |e: CaseError| {
        CommandError::new(ExitCode::Failed, "bad_case", "a case cannot be answered").why(e.to_string())
    };
    let text = read_text(&args.input)?;
    if args.explain && !app.out.is_json() {
        for score in cases::scores(&text).map_err(wrong)? {
            let (id, health) = score.map_err(wrong)?;
            app.out.line(&format!("case {id}\n{}", explain_health(&health)))?;
        }
        return Ok(());
    }
    for answer in cases::answers(&text).map_err(wrong)? {
        app.out.json(&answer.map_err(wrong)?)?;
    }
    Ok(())
}
