//! `halo-sync credentials`.

use clap::Subcommand;
use serde::Serialize;
use serde_json::Value;

use super::host::{Access, Host};
use super::{App, CommandError, ExitCode};
use crate::service::{Request, SealStep, SealStepDone};
use crate::sync::credentials::keys::KeySource;

/// What is given to `credentials`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub action: Option<Action>,
}

/// What to do with the keys that stored credentials are sealed with.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// The keys, and how much is sealed with each
    Status,
    /// Make a new key and seal everything with it
    ///
    /// Beside whatever runs, piece by piece. One that was cut off goes on where it stood when this is run again. Where the key is not in a file of ours, put a new one in front of the old one first; this then seals everything with it.
    Rotate {
        /// Then take older keys out of the key file; copies of the database made before cannot be opened any more
        #[arg(long)]
        retire: bool,
    },
    /// Delete what is sealed with a lost key; its accounts must be connected again
    Forget {
        /// The key's id
        #[arg(value_name = "KEY")]
        key: String,
        /// The id once more
        #[arg(long, value_name = "KEY")]
        confirm: Option<String>,
    },
}

#[derive(Debug, Serialize)]
struct KeyRow {
    key: String,
    /// `current`, `older`, `missing`.
    state: &'static str,
    /// Secrets sealed with it.
    secrets: i64,
}

/// Shows the keys, rotates, or lets go of a lost one.
///
/// # Errors
///
/// A key that is missing or cannot be written (6); secrets that do not open, when all others are sealed anew (4).
pub async fn run(app: &App, args: Args) -> Result<ExitCode, CommandError> {
    let loaded = app.settings()?;
    app.start_logs(&loaded, false)?;
    match args.action {
        None | Some(Action::Status) => {
            let host = Host::open_with_any_key(app, loaded, Access::Read).await?;
            status(app, &host).await?;
        }
        Some(Action::Rotate { retire }) => {
            let host = Host::open(app, loaded, Access::WriteIfFree).await?;
            return rotate(app, &host, retire).await;
        }
        Some(Action::Forget { key, confirm }) => {
            if confirm.as_deref() != Some(key.as_str()) {
                return Err(CommandError::new(
                    ExitCode::Usage,
                    "confirmation_needed",
                    format!("this deletes every credential that is sealed with key {key}"),
                )
                .try_this(format!("halo-sync credentials forget {key} --confirm {key}")));
            }
            let host = Host::open_with_any_key(app, loaded, Access::WriteIfFree).await?;
            let answer = host.execute(Request::ForgetKey { key }).await?;
            app.out.one(&answer, |answer| {
                let connections = answer["connections"].as_array().map_or(0, Vec::len);
                format!("{} secrets of {connections} connections are gone", answer["forgotten"])
            })?;
        }
    }
    Ok(ExitCode::Ok)
}

async fn status(app: &App, host: &Host) -> Result<(), CommandError> {
    let have = host.services.providers.keyring().key_ids();
    let used = host.store().count_sealed().await?;
    let secrets = |key: &str| used.iter().find(|with| with.key == key).map_or(0, |with| with.secrets);
    let mut rows: Vec<KeyRow> = Vec::new();
    for (n, key) in have.iter().enumerate() {
        let state = if n == 0 { "current" } else { "older" };
        rows.push(KeyRow { key: key.clone(), state, secrets: secrets(key) });
    }
    for with in used.iter().filter(|with| !have.contains(&with.key)) {
        rows.push(KeyRow { key: with.key.clone(), state: "missing", secrets: with.secrets });
    }
    app.out.list(
        &rows,
        &[
            ("KEY", &|row: &KeyRow| row.key.clone()),
            ("STATE", &|row| row.state.to_owned()),
            ("SECRETS", &|row| row.secrets.to_string()),
        ],
        "There is no key.",
    )
}

/// What a rotation came to.
#[derive(Debug, Default, Serialize)]
struct Rotated {
    /// The current key's id.
    key: String,
    /// Whether the key was made by this rotation: else one that was begun before was finished.
    new_key: bool,
    /// Secrets sealed anew.
    sealed: u64,
    /// Secrets that do not open.
    refused: Vec<Value>,
    /// Keys that were taken out of the key file.
    retired: Vec<String>,
}

async fn rotate(app: &App, host: &Host, retire: bool) -> Result<ExitCode, CommandError> {
    let mut rotated = Rotated::default();
    // What an earlier rotation, cut off, left; or what is to be sealed with a key that somebody put in front.
    seal_all(host, false, &mut rotated).await?;
    if rotated.sealed == 0 {
        if let KeySource::Setting | KeySource::Credential(_) = host.services.providers.keyring().source() {
            return Err(CommandError::new(
                ExitCode::Config,
                "secret_key",
                format!("everything is sealed with key {}, the first one", rotated.key),
            )
            .why("the keys are not in a file that this command may write")
            .try_this(
                "Put a new key in front of it (openssl rand -base64 32, a line of its own), start everything anew, \
                 and run this again",
            ));
        }
        rotated = Rotated { new_key: true, ..Rotated::default() };
        seal_all(host, true, &mut rotated).await?;
    }
    if retire {
        let answer = host.execute(Request::RetireKeys).await?;
        let ids = answer["retired"].as_array().into_iter().flatten();
        rotated.retired = ids.filter_map(Value::as_str).map(str::to_owned).collect();
    }
    app.out.one(&rotated, |r| {
        let how = if r.new_key { "a new one" } else { "which was in front already" };
        format!("{} secrets are sealed with key {}, {how}", r.sealed, r.key)
    })?;
    if !rotated.retired.is_empty() {
        app.out.note(&format!("No longer in the key file: {}.", rotated.retired.join(", ")));
    } else if rotated.new_key {
        app.out.note(
            "The older key stays in the key file, for older copies of the database. Keep a copy of the file.",
        );
    }
    for refused in &rotated.refused {
        let text = |name: &str| refused["place"][name].as_str().unwrap_or("the organisation").to_owned();
        app.out.warn(&format!(
            "{} of {} ({}): {}",
            text("name"),
            text("connection"),
            text("org"),
            refused["why"].as_str().unwrap_or_default()
        ));
    }
    Ok(if rotated.refused.is_empty() { ExitCode::Ok } else { ExitCode::NeedsPerson })
}

/// Step by step to the end, in whichever process holds the database.
async fn seal_all(host: &Host, new_key: bool, rotated: &mut Rotated) -> Result<(), CommandError> {
    let mut step = SealStep { new_key, after: None };
    loop {
        let answer = host.execute(Request::SealAnew { step: step.clone() }).await?;
        let done: SealStepDone = serde_json::from_value(answer).map_err(anyhow::Error::from)?;
        rotated.key = done.key;
        rotated.sealed += done.sealed;
        rotated.refused.extend(done.refused.iter().map(|refused| serde_json::json!(refused)));
        let Some(next) = done.next else { return Ok(()) };
        tracing::debug!(sealed = rotated.sealed, "sealing anew");
        step = SealStep { new_key: false, after: Some(next) };
    }
}
