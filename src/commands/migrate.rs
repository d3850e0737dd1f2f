//! `halo-sync migrate`.

use clap::Subcommand;

use super::host::{self, Access, Host};
use super::{App, CommandError};
use crate::store::{self, MigrationState};

/// What is given to `migrate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub action: Option<Action>,
}

/// What to do with the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum Action {
    /// The database's version and this program's
    Status,
    /// Apply what is missing
    Run,
}

/// Shows or brings up the schema.
///
/// # Errors
///
/// A newer schema; a database in use.
pub async fn run(app: &App, args: Args) -> Result<(), CommandError> {
    let mut loaded = app.settings()?;
    app.start_logs(&loaded, false)?;
    if let Some(Action::Run) = args.action {
        loaded.config.database.migrate = true;
        let host = Host::open(app, loaded, Access::Write).await?;
        let version = host.store().schema_version().await?;
        return app
            .out
            .one(&serde_json::json!({ "version": version }), |_| format!("the schema is at {version}"));
    }
    let states = store::migrations(&host::target(&loaded)?).await?;
    app.out.list(
        &states,
        &[
            ("VERSION", &|m: &MigrationState| m.version.to_string()),
            ("NAME", &|m| m.name.clone()),
            ("APPLIED", &|m| if m.applied { "yes" } else { "no" }.to_owned()),
        ],
        "This build has no migrations.",
    )?;
    if states.iter().any(|m| !m.applied) {
        app.out.note("Apply what is missing:  halo-sync migrate run");
    }
    Ok(())
}
