//! `halo-sync keys`.

use clap::Subcommand;
use serde_json::Value;

use super::host::{Access, Host};
use super::when::{When, span, until};
use super::{App, CommandError, moment, word};
use crate::domain::KeyId;
use crate::domain::connections::{ApiKey, KeyClass};
use crate::domain::origin::OriginRule;
use crate::service::{KeyBounds, Request};

/// How long what was rotated goes on working, unless it is said.
const OVERLAP: &str = "24h";

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

/// How what was there before ends.
#[derive(Debug, Clone, clap::Args)]
pub struct Overlap {
    /// How long the old one goes on working
    #[arg(long, value_name = "TIME", value_parser = span, default_value = OVERLAP)]
    overlap: u64,
    /// End the old one at once
    #[arg(long, conflicts_with = "overlap")]
    now: bool,
}

impl Overlap {
    fn seconds(&self) -> u64 {
        if self.now { 0 } else { self.overlap }
    }
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
        /// A page's origin that a publishable key is taken from, instead of the organisation's list; may be repeated
        ///
        /// `https://app.acme.com` is that origin alone, `https://*.acme.com` every one below acme.com.
        #[arg(long = "origin", value_name = "ORIGIN")]
        origins: Vec<OriginRule>,
        /// When it stops working: for how long (90d), or an instant
        #[arg(long, value_name = "TIME", value_parser = until)]
        expires: Option<When>,
    },
    /// Keys, without the keys themselves
    List,
    /// Make a key in the place of another
    ///
    /// Same class, name and origins. The old key works on for a while, so that it can be exchanged everywhere first.
    Rotate {
        /// Which key (`key_…`)
        #[arg(value_name = "KEY")]
        key: String,
        /// How the old one ends.
        #[command(flatten)]
        overlap: Overlap,
    },
    /// Make a key stop working
    Revoke {
        /// Which key (`key_…`)
        #[arg(value_name = "KEY")]
        key: String,
    },
    /// The identity secret, with which a backend signs for its users
    ///
    /// Without a subcommand: what there is. The secret itself is shown once.
    Identity {
        /// What to do.
        #[command(subcommand)]
        action: Option<Identity>,
    },
}

/// What to do with the identity secret.
#[derive(Debug, Subcommand)]
pub enum Identity {
    /// Make the identity secret; it is shown once
    Create,
    /// Make an identity secret in the place of the one there is
    Rotate {
        /// How the old one ends.
        #[command(flatten)]
        overlap: Overlap,
    },
    /// When the identity secrets were made, until when each is accepted, and whether verification is on
    Status,
}

/// Makes, lists, rotates or revokes keys, and sees to the identity secret.
///
/// # Errors
///
/// An unknown key; origins for a server key; an identity secret that there is already, or not yet.
pub async fn run(app: &App, args: Args) -> Result<(), CommandError> {
    let loaded = app.settings()?;
    app.start_logs(&loaded, false)?;
    let request = match args.action {
        None | Some(Action::List) => return list(app, &Host::open(app, loaded, Access::Read).await?).await,
        Some(Action::Identity { action: None | Some(Identity::Status) }) => {
            return status(app, &Host::open(app, loaded, Access::Read).await?).await;
        }
        Some(Action::Create { class, name, origins, expires }) => {
            let class = match class {
                Class::Server => KeyClass::Server,
                Class::Publishable => KeyClass::Publishable,
            };
            let bounds = KeyBounds {
                origins: (!origins.is_empty()).then_some(origins),
                expires_at: expires.map(|when| when.instant_ahead(app.clock.now())),
            };
            match bounds == KeyBounds::default() {
                true => Request::CreateKey { class, name },
                false => Request::CreateBoundKey { class, name, bounds },
            }
        }
        Some(Action::Rotate { key, overlap }) => {
            Request::RotateKey { key: KeyId(key), overlap_seconds: overlap.seconds() }
        }
        Some(Action::Revoke { key }) => Request::RevokeKey { key: KeyId(key) },
        Some(Action::Identity { action: Some(Identity::Create) }) => Request::CreateIdentitySecret,
        Some(Action::Identity { action: Some(Identity::Rotate { overlap }) }) => {
            Request::RotateIdentitySecret { overlap_seconds: overlap.seconds() }
        }
    };
    let host = Host::open(app, loaded, Access::WriteIfFree).await?;
    let answer = host.execute(request).await?;
    tell(app, &answer)
}

/// Prints an answer, a secret alone on its line, and what should be known of it beside.
fn tell(app: &App, answer: &Value) -> Result<(), CommandError> {
    let text = |name: &str| answer[name].as_str().unwrap_or_default();
    if answer["revoked"] == true {
        return app
            .out
            .one(answer, |answer| format!("{} no longer works", answer["id"].as_str().unwrap_or_default()));
    }
    let (secret, kept) = match answer.get("key") {
        Some(_) => ("key", "only its hash is kept"),
        None => ("identity_secret", "it is kept sealed"),
    };
    app.out.one(answer, |_| text(secret).to_owned())?;
    app.out.note(&format!("This is the only time that it is shown; {kept}."));
    let old = answer["replaces"]["works_until"].as_str().or(answer["old_accepted_until"].as_str());
    if let Some(until) = old {
        app.out.note(&format!("The old one works until {until}."));
    }
    Ok(())
}

async fn list(app: &App, host: &Host) -> Result<(), CommandError> {
    let keys = host.store().list_keys(&host.org).await?;
    let now = app.clock.now();
    app.out.list(
        &keys,
        &[
            ("KEY", &|k: &ApiKey| k.id.0.clone()),
            ("CLASS", &|k| word(&k.class)),
            ("NAME", &|k| k.name.clone()),
            ("BEGINS WITH", &|k| k.prefix.clone()),
            ("ORIGINS", &|k| {
                let origins = k.origins.iter().flatten();
                origins.map(ToString::to_string).collect::<Vec<_>>().join(" ")
            }),
            ("MADE", &|k| moment(k.created_at)),
            ("LAST USED", &|k| k.last_used_at.map(moment).unwrap_or_default()),
            ("ENDS", &|k| match (k.revoked_at, k.expires_at) {
                (Some(at), _) => format!("revoked {}", moment(at)),
                (None, Some(at)) if at <= now => format!("ended {}", moment(at)),
                (None, Some(at)) => moment(at),
                (None, None) => String::new(),
            }),
        ],
        "No keys. Make one:  halo-sync keys create --class server --name NAME",
    )
}

async fn status(app: &App, host: &Host) -> Result<(), CommandError> {
    let answer = host.services.identity_status(&host.org).await?;
    app.out.one(&answer, |answer| {
        let mut lines = vec![format!(
            "identity verification is {}",
            answer["identity_verification"].as_str().unwrap_or_default()
        )];
        let secrets = answer["secrets"].as_array().map(Vec::as_slice).unwrap_or_default();
        for secret in secrets {
            let made = secret["created_at"].as_str().unwrap_or_default();
            lines.push(match secret["accepted_until"].as_str() {
                Some(until) => format!("a secret made {made}, accepted until {until}"),
                None => format!("a secret made {made}, the current one"),
            });
        }
        if secrets.is_empty() {
            lines.push("no identity secret. Make one:  halo-sync keys identity create".to_owned());
        }
        lines.join("\n")
    })
}
