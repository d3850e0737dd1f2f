//! `halo-sync connectors`.

use clap::Subcommand;
use connector_sdk::spec::{AuthKind, Spec};

use super::{App, CommandError};

pub mod demo;
pub mod docs;
pub mod new;
pub mod record;

/// What is given to `connectors`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub action: Option<Action>,
}

/// What to show of connectors.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Connectors
    List,
    /// One connector: streams, permissions, webhook events, settings
    Show {
        /// Which connector
        #[arg(value_name = "CONNECTOR")]
        connector: String,
    },
    /// What a connector makes of the samples that it brings
    ///
    /// Needs no account and no database.
    Demo(demo::Args),
    /// Make a crate for a new connector, in halo-sync's source tree
    ///
    /// It compiles, passes its tests and is listed at once; then it is made to say what the real provider says.
    New(new::Args),
    /// Write the pages of connectors from what they say about themselves, in halo-sync's source tree
    ///
    /// docs/connectors/NAME.md: credentials, settings, streams, webhook events, limits.
    Docs(docs::Args),
    /// Save pages of a connected account as fixtures, without what is anybody's
    ///
    /// Names, addresses, e-mails, secrets and every other text that is not plainly a code, a date or a number are replaced, the same by the same.
    Record(record::Args),
}

/// Lists connectors, shows one, or helps to write one.
///
/// # Errors
///
/// An unknown name; what the action met; stdout that cannot be written.
pub async fn run(app: &App, args: &Args) -> Result<(), CommandError> {
    let mut specs: Vec<Spec> = app.connectors.iter().map(|connector| connector.spec()).collect();
    specs.sort_by_key(|spec| spec.id);
    match &args.action {
        None | Some(Action::List) => app.out.list(
            &specs,
            &[
                ("CONNECTOR", &|spec: &Spec| spec.id.to_owned()),
                ("NAME", &|spec: &Spec| spec.display_name.to_owned()),
                ("ROLE", &|spec: &Spec| word(&spec.role)),
                ("API VERSION", &|spec: &Spec| spec.api_version.to_owned()),
                ("STREAMS", &|spec: &Spec| spec.streams.len().to_string()),
            ],
            "This build has no connectors.",
        ),
        Some(Action::Show { connector }) => app.out.one(find(&specs, connector)?, describe),
        Some(Action::Demo(args)) => demo::run(app, args, &specs),
        Some(Action::New(args)) => new::run(app, args),
        Some(Action::Docs(args)) => docs::run(app, args, &specs),
        Some(Action::Record(args)) => record::run(app, args).await,
    }
}

/// The connector of that id.
fn find<'a>(specs: &'a [Spec], id: &str) -> Result<&'a Spec, CommandError> {
    specs.iter().find(|spec| spec.id == id).ok_or_else(|| {
        let names: Vec<&str> = specs.iter().map(|spec| spec.id).collect();
        CommandError::not_found(format_args!("connector {id}"))
            .why(format!("there are: {}", names.join(", ")))
            .try_this("halo-sync connectors list")
    })
}

/// A unit variant as serde spells it.
fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

fn describe(spec: &Spec) -> String {
    use std::fmt::Write;
    let mut text = format!(
        "{} ({}), {}, API version {}\n{}\n",
        spec.display_name,
        spec.id,
        word(&spec.role),
        spec.api_version,
        spec.default_base_url
    );
    text.push_str("\nCredentials\n");
    for auth in &spec.auth {
        let _ = match auth {
            AuthKind::ApiKey { help } => writeln!(text, "  API key: {help}"),
            AuthKind::NoSecret => writeln!(text, "  None, where the account asks for none"),
            AuthKind::OAuth2 { scopes, .. } => writeln!(text, "  OAuth 2, scopes {}", scopes.join(" ")),
        };
    }
    text.push_str("\nStreams\n");
    let mut streams: Vec<_> = spec.streams.iter().collect();
    streams.sort_by_key(|stream| (stream.order, stream.name));
    let width = streams.iter().map(|stream| stream.name.len()).max().unwrap_or(0);
    for stream in streams {
        let _ = write!(text, "  {:width$}  {}", stream.name, stream.about);
        let _ = match stream.permission {
            Some(permission) => writeln!(text, " (needs {permission})"),
            None => writeln!(text),
        };
    }
    if let Some(feed) = &spec.feed {
        let _ = write!(text, "\nWhat changed\n  {}  {}", feed.name, feed.about);
        let _ = match feed.permission {
            Some(permission) => writeln!(text, " (needs {permission})"),
            None => writeln!(text),
        };
    }
    if !spec.webhook_events.is_empty() {
        let _ = writeln!(text, "\nWebhook events\n  {}", spec.webhook_events.join("\n  "));
    }
    if let Some(settings) = spec.config_schema["properties"].as_object().filter(|s| !s.is_empty()) {
        text.push_str("\nSettings (halo-sync connect … --set KEY=VALUE)\n");
        for (key, schema) in settings {
            let about = schema["description"].as_str().unwrap_or_default().replace('\n', " ");
            let _ = writeln!(text, "  {key}  {about}");
        }
    }
    text.trim_end().to_owned()
}
