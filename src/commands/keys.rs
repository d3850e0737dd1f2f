//! `halo-sync keys`.

use clap::Subcommand;

use super::host::{Access, Host};
use super::{App, CommandError, moment, word};
use crate::domain::KeyId;
use crate::domain::connections::{ApiKey, KeyClass};
use crate::service::Request;

/// What is given to `keys`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub action: Option<Action>,
}

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Class {
    /// For a backend: trusted.
    Server,
    /// For a browser: may only claim.
    Publishable,
}

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Make a key; it is shown once and only its hash is kept
    Create {
        /// What the key may do
        #[arg(long)]
        class: Class,
        /// A name to know it by
        #[arg(long)]
        name: String,
    },
    /// Keys, without the keys themselves
    List,
    /// Make a key stop working
    Revoke {
        /// Which key (`key_…`)
        #[arg(value_name = "KEY")]
        key: String,
    },
}

/// Makes, lists or revokes keys.
///
/// # Errors
///
/// An unknown key.
pub async fn run(app: &App, args: Args) -> Result<(), CommandError> {
    let loaded = app.settings()?;
    app.start_logs(&loaded, false)?;
    match args.action {
        None | Some(Action::List) => {
            let host = Host::open(app, loaded, Access::Read).await?;
            let keys = host.store().list_keys(&host.org).await?;
            app.out.list(
                &keys,
                &[
                    ("KEY", &|k: &ApiKey| k.id.0.clone()),
                    ("CLASS", &|k| word(&k.class)),
                    ("NAME", &|k| k.name.clone()),
                    ("BEGINS WITH", &|k| k.prefix.clone()),
                    ("MADE", &|k| moment(k.created_at)),
                    ("REVOKED", &|k| k.revoked_at.map(moment).unwrap_or_default()),
                ],
                "No keys. Make one:  halo-sync keys create --class server --name NAME",
            )
        }
        Some(Action::Create { class, name }) => {
            let host = Host::open(app, loaded, Access::WriteIfFree).await?;
            let class = match class {
                Class::Server => KeyClass::Server,
                Class::Publishable => KeyClass::Publishable,
            };
            let answer = host.execute(Request::CreateKey { class, name }).await?;
            app.out.one(&answer, |answer| answer["key"].as_str().unwrap_or_default().to_owned())?;
            app.out.note("This is the only time that the key is shown; only its hash is kept.");
            Ok(())
        }
        Some(Action::Revoke { key }) => {
            let host = Host::open(app, loaded, Access::WriteIfFree).await?;
            let answer = host.execute(Request::RevokeKey { key: KeyId(key.clone()) }).await?;
            app.out.one(&answer, |_| format!("{key} no longer works"))
        }
    }
}
