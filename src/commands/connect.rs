//! `halo-sync connect`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use connector_sdk::{AuthKind, DynConnector};
use secrecy::SecretString;
use serde_json::{Map, Value};

use super::cli::STDIN_HINT;
use super::host::{Access, Host};
use super::{App, CommandError, ExitCode, read_text};
use crate::service::{Authorize, Connect, Request};

/// What is given to `connect`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which connector, as `halo-sync connectors list` names it
    pub connector: String,
    /// File that holds the API key; `-` reads it from stdin
    ///
    /// Without it the account is granted at the provider (OAuth): an address is printed for a browser, and the command
    /// waits until that came back.
    #[arg(long, value_name = STDIN_HINT)]
    pub api_key_file: Option<PathBuf>,
    /// How long to wait for the browser, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=600), conflicts_with = "api_key_file")]
    pub wait: u64,
    /// File that holds the webhook signing secret
    #[arg(long, value_name = "FILE")]
    pub webhook_secret_file: Option<PathBuf>,
    /// Register this installation's address at the provider, where its API can; needs the setting server.public_url
    /// and a key that may write webhook endpoints
    #[arg(long, conflicts_with = "webhook_secret_file")]
    pub register_webhook: bool,
    /// Name of the connection [default: the connector's]
    #[arg(long)]
    pub name: Option<String>,
    /// Address of the provider's API, where it is not the usual one
    #[arg(long, value_name = "URL")]
    pub base_url: Option<String>,
    /// JSON file with settings of the connection, an object; `-` reads it from stdin
    #[arg(long, value_name = STDIN_HINT)]
    pub settings_file: Option<PathBuf>,
    /// A setting of the connection; `halo-sync connectors show NAME` lists them
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    pub settings: Vec<(String, String)>,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

/// The name of the secret that `--api-key-file` gives; connectors ask for it by this name.
const API_KEY: &str = "api_key";

/// Connects an account: checks first, stores then, and begins to read.
///
/// # Errors
///
/// Files that cannot be read; refused credentials (4); a provider that cannot be reached (5); settings (6).
pub async fn run(app: &App, args: Args) -> Result<(), CommandError> {
    let key = args.api_key_file.as_deref().map(|file| secret(file, "--api-key-file")).transpose()?;
    let webhook_secrets = match &args.webhook_secret_file {
        Some(file) => vec![secret(file, "--webhook-secret-file")?],
        None => Vec::new(),
    };
    let mut config = args.settings_file.as_deref().map(settings).transpose()?.unwrap_or_default();
    for (name, value) in &args.settings {
        set(&mut config, name, value)?;
    }
    if let Some(url) = &args.base_url {
        config.insert("base_url".to_owned(), Value::String(url.clone()));
    }
    let loaded = app.settings()?;
    app.start_logs(&loaded, false)?;
    let host = Host::open(app, loaded, Access::WriteIfFree).await?;
    if args.register_webhook && host.services.public_url.is_none() {
        return Err(CommandError::new(
            ExitCode::Config,
            "no_public_url",
            "the address that the provider is to send to is not known; nothing was connected",
        )
        .why("server.public_url is not set")
        .try_this(
            "set server.public_url (or HALO_SYNC_SERVER__PUBLIC_URL) to how the world reaches halo-sync",
        ));
    }
    let name = args.name.clone().unwrap_or_else(|| args.connector.clone());
    let asks_for_none = |connector: &Arc<dyn DynConnector>| {
        let spec = connector.spec();
        spec.id == args.connector && spec.auth.contains(&AuthKind::NoSecret)
    };
    let needs_no_key = app.connectors.iter().any(asks_for_none);
    let (connector, config) = (args.connector, Value::Object(config));
    let answer = match key {
        key if key.is_some() || needs_no_key => {
            let secrets = key.into_iter().map(|key| (API_KEY.to_owned(), key)).collect();
            let connect = Connect { connector, name, config, secrets, webhook_secrets, backfill: true };
            host.execute(Request::Connect(connect)).await?
        }
        _ => {
            let authorize = Authorize { connector, name, config, webhook_secrets };
            super::authorize::run(app, &host, authorize, Duration::from_secs(args.wait)).await?
        }
    };
    app.out.one(&answer, |answer| describe(answer, host.webhook_base()))?;
    let name = answer["connection"]["name"].as_str().unwrap_or_default();
    if args.register_webhook {
        super::webhooks::register(app, &host, name.to_owned(), None).await.map_err(|error| {
            let why = error.to_string();
            CommandError { message: "connected, but the webhook is not registered".to_owned(), ..error }
                .why(why)
                .try_this(format!("halo-sync webhooks register {name}"))
        })?;
    }
    app.out.note(&match host.writes && !host.on_postgres() {
        true => "The first read begins with:  halo-sync serve".to_owned(),
        false => format!("The first read has begun:  halo-sync runs list --connection {name}"),
    });
    Ok(())
}

fn describe(answer: &Value, base: String) -> String {
    let connection = &answer["connection"];
    let text = |value: &Value| value.as_str().unwrap_or("unknown").to_owned();
    let test = if connection["mode"] == "test" { " (TEST mode)" } else { "" };
    let mut lines = vec![
        format!("connected  {} {}{test}", text(&connection["connector"]), text(&connection["name"])),
        format!(
            "account    {}",
            [&connection["account_name"], &connection["account_id"]]
                .into_iter()
                .filter_map(Value::as_str)
                .collect::<Vec<_>>()
                .join(" ")
        ),
        format!("id         {}", text(&connection["id"])),
        format!("webhooks   {base}{}", text(&answer["webhook_path"])),
    ];
    if lines[1].trim_end() == "account" {
        lines[1] = "account    not offered by this server".to_owned();
    }
    for missing in connection["limits"]["missing"].as_array().into_iter().flatten() {
        lines.push(format!(
            "missing    {}: permission {}",
            text(&missing["stream"]),
            text(&missing["permission"])
        ));
    }
    for stream in connection["limits"]["not_offered"].as_array().into_iter().flatten() {
        lines.push(format!("skipped    {}: not offered by this server", text(stream)));
    }
    lines.join("\n")
}

/// A secret from a file or stdin: one line, no white space around it.
fn secret(file: &Path, flag: &str) -> Result<SecretString, CommandError> {
    let text = read_text(file)?;
    let text = text.trim();
    if text.is_empty() || text.chars().any(char::is_whitespace) {
        let what = if text.is_empty() { "is empty" } else { "holds more than one word" };
        return Err(CommandError::new(
            ExitCode::Usage,
            "bad_secret_file",
            format!("{flag}: {} {what}", file.display()),
        )
        .try_this("Put the secret alone into the file, for example with: cat > FILE"));
    }
    Ok(SecretString::from(text.to_owned()))
}

/// Settings from a file or stdin.
fn settings(file: &Path) -> Result<Map<String, Value>, CommandError> {
    serde_json::from_str(&read_text(file)?).map_err(|e| {
        CommandError::usage(format!("--settings-file: {} is no JSON object: {e}", file.display()))
    })
}

/// `link.customer_id_field=billing_ref` sets a nested member. A value that is JSON is taken as such, any
/// other is text.
fn set(config: &mut Map<String, Value>, name: &str, value: &str) -> Result<(), CommandError> {
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
    let (mut members, mut rest) = (config, name);
    while let Some((head, tail)) = rest.split_once('.') {
        let member = members.entry(head).or_insert_with(|| Value::Object(Map::new()));
        members = member.as_object_mut().ok_or_else(|| {
            CommandError::usage(format!("--set {name}: {head} is set to a plain value already"))
        })?;
        rest = tail;
    }
    members.insert(rest.to_owned(), value);
    Ok(())
}
