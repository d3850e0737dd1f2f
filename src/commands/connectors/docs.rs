//! `halo-sync connectors docs`: a connector's page.

use std::path::PathBuf;

use connector_sdk::spec::Spec;
use serde_json::json;

use super::super::{App, CommandError, ExitCode};
use crate::kit::{page, put, tree};

/// What is given to `connectors docs`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which connector; without one, all
    #[arg(value_name = "CONNECTOR")]
    pub connector: Option<String>,
    /// Print the page instead of writing it
    #[arg(long)]
    pub stdout: bool,
    /// Write nothing; end with exit code 1 when a page is stale
    #[arg(long, conflicts_with = "stdout")]
    pub check: bool,
    /// halo-sync's source tree, or a folder in it
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub tree: PathBuf,
}

/// Writes, prints or checks the pages `docs/connectors/NAME.md`.
///
/// # Errors
///
/// An unknown connector; no source tree; a file that cannot be written; with `--check`, a page that is stale (all 1).
pub fn run(app: &App, args: &Args, specs: &[Spec]) -> Result<(), CommandError> {
    let wanted: Vec<&Spec> = match &args.connector {
        Some(name) => vec![super::find(specs, name)?],
        None => specs.iter().collect(),
    };
    if args.stdout {
        let pages: Vec<String> = wanted.into_iter().map(page).collect();
        return app.out.raw(pages.join("\n").as_bytes());
    }
    let root = tree(&args.tree)?;
    let mut stale = Vec::new();
    for spec in wanted {
        let (name, text) = (format!("docs/connectors/{}.md", spec.id), page(spec));
        let path = root.join(&name);
        let fresh = std::fs::read_to_string(&path).is_ok_and(|old| old == text);
        if args.check {
            stale.extend((!fresh).then_some(spec.id));
            continue;
        }
        if !fresh {
            put(&path, &text)?;
        }
        app.out.one(&json!({ "file": name, "changed": !fresh }), |_| {
            format!("{}  {name}", if fresh { "as it was" } else { "written" })
        })?;
    }
    if stale.is_empty() {
        return Ok(());
    }
    Err(CommandError::new(
        ExitCode::Failed,
        "stale_page",
        format!("not what the connectors say: the pages of {}", stale.join(", ")),
    )
    .try_this("halo-sync connectors docs"))
}
