//! `halo-sync orgs`.

use clap::Subcommand;
use serde_json::Value;

use super::host::{Access, Host};
use super::{App, CommandError, ExitCode};
use crate::domain::OrgId;
use crate::domain::orgs::Switch;
use crate::domain::origin::OriginRule;
use crate::service::{OrgChange, Request};

/// What is given to `orgs`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub action: Option<Action>,
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum OnOff {
    /// On.
    On,
    /// Off.
    Off,
}

impl From<OnOff> for Switch {
    fn from(said: OnOff) -> Self {
        match said {
            OnOff::On => Self::On,
            OnOff::Off => Self::Off,
        }
    }
}

/// What to do with organisations. ORG is an id (`org_…`).
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Organisations
    List,
    /// One organisation and its rules
    Show {
        /// Which organisation
        #[arg(value_name = "ORG")]
        id: String,
    },
    /// Make an organisation
    Create {
        /// Its id: org_ and letters, digits, _ and - [default: a new one]
        #[arg(value_name = "ORG")]
        id: Option<String>,
        /// A name to know it by
        #[arg(long)]
        name: String,
    },
    /// Change an organisation
    #[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
    Set {
        /// Which organisation
        #[arg(value_name = "ORG")]
        id: String,
        /// Its name
        #[arg(long, group = "change")]
        name: Option<String>,
        /// Whether a publishable key may name a user only with a token that the backend signed
        #[arg(long, value_name = "SWITCH", group = "change")]
        identity_verification: Option<OnOff>,
        /// Whether a chat without such a token is answered from what is stored of the user that it names
        #[arg(long, value_name = "SWITCH", group = "change")]
        unverified_chat: Option<OnOff>,
        /// A page's origin that publishable keys are taken from; may be repeated, and replaces the list
        ///
        /// `https://app.acme.com` is that origin alone, `https://*.acme.com` every one below acme.com.
        #[arg(long = "origin", value_name = "ORIGIN", group = "change")]
        origins: Vec<OriginRule>,
        /// Take publishable keys from every origin
        #[arg(long, group = "change", conflicts_with = "origins")]
        any_origin: bool,
    },
    /// Delete an organisation with everything that is its: people, companies, connections, keys, history
    Rm {
        /// Which organisation
        #[arg(value_name = "ORG")]
        id: String,
        /// The organisation's id once more
        #[arg(long, value_name = "ORG")]
        confirm: Option<String>,
    },
}

/// Lists, shows, makes, changes or deletes organisations.
///
/// # Errors
///
/// An unknown organisation; one that is there already; verification without an identity secret; the last one.
pub async fn run(app: &App, args: Args) -> Result<(), CommandError> {
    let loaded = app.settings()?;
    app.start_logs(&loaded, false)?;
    let read = matches!(&args.action, None | Some(Action::List | Action::Show { .. }));
    let access = if read { Access::Read } else { Access::WriteIfFree };
    let host = Host::open_for_any_org(app, loaded, access).await?;
    let request = match args.action {
        None | Some(Action::List) => return list(app, &host).await,
        Some(Action::Show { id }) => {
            let shown = host.services.show_org(&OrgId(id)).await?;
            return app.out.one(&shown, describe);
        }
        Some(Action::Create { id, name }) => Request::CreateOrg { id: id.map(OrgId), name },
        Some(Action::Set { id, name, identity_verification, unverified_chat, origins, any_origin }) => {
            let change = OrgChange {
                name,
                identity_verification: identity_verification.map(Switch::from),
                unverified_chat: unverified_chat.map(Switch::from),
                origins: (any_origin || !origins.is_empty()).then_some(origins),
            };
            Request::SetOrg { id: OrgId(id), change }
        }
        Some(Action::Rm { id, confirm }) => return remove(app, &host, OrgId(id), confirm.as_deref()).await,
    };
    let answer = host.execute(request).await?;
    app.out.one(&answer, describe)
}

async fn list(app: &App, host: &Host) -> Result<(), CommandError> {
    let mut shown = Vec::new();
    for id in host.store().list_orgs().await? {
        shown.push(host.services.show_org(&id).await?);
    }
    let text = |org: &Value, name: &str| org[name].as_str().unwrap_or_default().to_owned();
    app.out.list(
        &shown,
        &[
            ("ORG", &|org: &Value| text(org, "id")),
            ("NAME", &|org| text(org, "name")),
            ("VERIFICATION", &|org| text(org, "identity_verification")),
            ("ORIGINS", &origins),
            ("MADE", &|org| text(org, "created_at")),
        ],
        "No organisations. Make one:  halo-sync orgs create --name NAME",
    )
}

fn origins(org: &Value) -> String {
    match org["origins"].as_array() {
        None => "any".to_owned(),
        Some(list) => list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
    }
}

fn describe(org: &Value) -> String {
    let text = |name: &str| org[name].as_str().unwrap_or_default();
    format!(
        "{}  {}\nidentity verification  {}\nunverified chat        {}\norigins                {}\nmade                   {}",
        text("id"),
        text("name"),
        text("identity_verification"),
        text("unverified_chat"),
        origins(org),
        text("created_at"),
    )
}

async fn remove(app: &App, host: &Host, id: OrgId, confirm: Option<&str>) -> Result<(), CommandError> {
    host.services.need_org(&id).await?;
    if confirm != Some(id.as_str()) {
        let counts = host.store().count_identities(&id).await?;
        let connections = host.store().list_connections(Some(&id)).await?.len();
        return Err(CommandError::new(
            ExitCode::Usage,
            "confirmation_needed",
            format!(
                "this deletes {id} with {} companies, {} users, {connections} connections, and everything else that is \
                 its",
                counts.companies, counts.users
            ),
        )
        .try_this(format!("halo-sync orgs rm {id} --confirm {id}")));
    }
    let answer = host.execute(Request::RemoveOrg { id: id.clone() }).await?;
    let rows: u64 = answer["rows"].as_object().into_iter().flatten().filter_map(|(_, n)| n.as_u64()).sum();
    app.out.one(&answer, |_| format!("removed {id} with {rows} rows"))?;
    for endpoint in answer["endpoints_left"].as_array().into_iter().flatten() {
        let text = |name: &str| endpoint[name].as_str().unwrap_or_default().to_owned();
        app.out.warn(&format!(
            "endpoint {} is still at the provider ({}): delete it there, or it goes on sending",
            text("id"),
            text("why")
        ));
    }
    Ok(())
}
