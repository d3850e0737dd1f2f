//! `halo-sync doctor`.

use chrono::TimeDelta;
use serde::Serialize;

use super::connections::audit_line;
use super::host::{Access, Host, keyring, target};
use super::{App, CommandError, ExitCode, moment};
use crate::backups;
use crate::config::Loaded;
use crate::domain::connections::{Connection, ConnectionStatus};
use crate::domain::watch::WebhookEndpoint;
use crate::service::Request;
use crate::store::Target;
use crate::sync::credentials::CredentialError;
use crate::sync::credentials::keys::KeySource;

/// What is given to `doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Do not call providers
    #[arg(long)]
    pub offline: bool,
}

/// A stream that was not read to its end for this long is late: the hourly and the nightly read both missed.
const LATE: TimeDelta = TimeDelta::hours(26);
/// A job that is due for this long waits for a worker that is not there.
const STUCK_SECONDS: u64 = 300;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
enum State {
    Ok,
    Warn,
    Fail,
}

#[derive(Debug, Serialize)]
struct Finding {
    check: String,
    state: State,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    what_to_type: Option<String>,
}

/// Findings in the order of the checks.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, check: &str, state: State, found: impl Into<String>) {
        self.0.push(Finding { check: check.to_owned(), state, found: found.into(), what_to_type: None });
    }

    fn fix(&mut self, check: &str, state: State, found: impl Into<String>, what_to_type: impl Into<String>) {
        self.add(check, state, found);
        if let Some(last) = self.0.last_mut() {
            last.what_to_type = Some(what_to_type.into());
        }
    }
}

/// Checks settings, database, key, connections and queue.
///
/// # Errors
///
/// Stdout that cannot be written. What is wrong with the installation is a finding; one FAIL ends with 1.
pub async fn run(app: &App, args: Args) -> Result<ExitCode, CommandError> {
    let mut findings = Findings::default();
    check(app, &args, &mut findings).await;
    let worst = findings.0.iter().map(|f| f.state).max().unwrap_or(State::Ok);
    if app.out.is_json() {
        findings.0.iter().try_for_each(|finding| app.out.json(finding))?;
    } else {
        for (n, finding) in (1..).zip(&findings.0) {
            let state = match finding.state {
                State::Ok => "OK  ",
                State::Warn => "WARN",
                State::Fail => "FAIL",
            };
            app.out.line(&format!("[{n}] {state} {}: {}", finding.check, finding.found))?;
            if let Some(hint) = &finding.what_to_type {
                app.out.line(&format!("         {hint}"))?;
            }
        }
    }
    Ok(if worst == State::Fail { ExitCode::Failed } else { ExitCode::Ok })
}

async fn check(app: &App, args: &Args, findings: &mut Findings) {
    let loaded = match app.settings() {
        Ok(loaded) => loaded,
        Err(error) => {
            return findings.fix("settings", State::Fail, error.to_string(), "halo-sync config check");
        }
    };
    let file =
        loaded.file.as_ref().map_or_else(|| "defaults, no file".to_owned(), |f| f.display().to_string());
    findings.add("settings", State::Ok, file);
    if let Err(error) = app.start_logs(&loaded, false) {
        findings.add("log", State::Warn, error.to_string());
    }
    let host = match open(app, loaded).await {
        Ok(host) => host,
        Err(error) => {
            let hint = error.what_to_type.clone().unwrap_or_else(|| "halo-sync migrate status".to_owned());
            return findings.fix("database", State::Fail, error.to_string(), hint);
        }
    };
    if let Err(error) = keys(&host, findings).await {
        return findings.add("secret key", State::Fail, error.to_string());
    }
    match host.store().schema_version().await {
        Ok(version) => {
            let held = if host.writes { "" } else { ", held by a running process" };
            findings.add("database", State::Ok, format!("{}, schema {version}{held}", host.store().engine()));
        }
        Err(error) => return findings.add("database", State::Fail, error.to_string()),
    }
    copies(app, &host, findings);
    if let Err(error) = queue(app, &host, findings).await {
        findings.add("queue", State::Fail, error.to_string());
    }
    if let Err(error) = connections(app, args, &host, findings).await {
        findings.add("connections", State::Fail, error.to_string());
    }
}

async fn open(app: &App, loaded: Loaded) -> Result<Host, CommandError> {
    let host = Host::open_with_any_key(app, loaded, Access::WriteIfFree).await?;
    host.services.need_org(&host.org).await?;
    Ok(host)
}

/// Whether every stored credential is sealed with a key that is here, and with the current one.
async fn keys(host: &Host, findings: &mut Findings) -> Result<(), CommandError> {
    let name = "secret key";
    if let Err(failure) = host.services.need_keys().await {
        let hint = failure.hint.unwrap_or_default();
        findings.fix(name, State::Fail, failure.message, hint);
        return Ok(());
    }
    // Here it is read alone, for its complaint.
    let keyring = keyring(&host.loaded)?;
    let current = keyring.key_id();
    let used = host.store().count_sealed().await?;
    let older: i64 = used.iter().filter(|with| with.key != current).map(|with| with.secrets).sum();
    match older {
        0 => findings.add(name, State::Ok, format!("key {current}")),
        _ => findings.fix(
            name,
            State::Warn,
            format!("key {current}; {older} secrets are still sealed with an older key"),
            "halo-sync credentials rotate",
        ),
    }
    #[cfg(unix)]
    if let KeySource::File(path) = keyring.source() {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(path)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            let found = format!("{} can be read by others (mode {mode:o})", path.display());
            findings.fix(name, State::Warn, found, format!("chmod 600 {}", path.display()));
        }
    }
    Ok(())
}

/// How old the newest copy of the embedded database is.
fn copies(app: &App, host: &Host, findings: &mut Findings) {
    let settings = &host.loaded.config.backup;
    let Ok(Target::Sqlite(database)) = target(&host.loaded) else { return };
    let newest = match backups::list(&backups::folder(&database)) {
        Ok(mut copies) => copies.pop().map(|(at, _)| at),
        Err(error) => return findings.add("backup", State::Fail, error.to_string()),
    };
    let due = TimeDelta::hours(i64::from(settings.every_hours) * 2);
    match newest {
        None => findings.fix("backup", State::Warn, "the database was never copied", "halo-sync backup"),
        Some(at) if settings.every_hours > 0 && app.clock.now() - at > due => {
            findings.fix(
                "backup",
                State::Warn,
                format!("the last one is of {}", moment(at)),
                "halo-sync backup",
            );
        }
        Some(at) => findings.add("backup", State::Ok, format!("the last one is of {}", moment(at))),
    }
}

async fn queue(app: &App, host: &Host, findings: &mut Findings) -> Result<(), CommandError> {
    let stats = host.store().job_stats(app.clock.now()).await?;
    let oldest = stats.oldest_due_us.unsigned_abs() / 1_000_000;
    let found = format!("{} waiting, {} running, the oldest due for {oldest} s", stats.ready, stats.running);
    match oldest > STUCK_SECONDS {
        true => findings.fix("queue", State::Warn, found, "halo-sync serve   (jobs wait for a worker)"),
        false => findings.add("queue", State::Ok, found),
    }
    if stats.dead > 0 {
        let found = format!("{} jobs gave up", stats.dead);
        findings.fix("dead letters", State::Warn, found, "halo-sync jobs list --state dead");
    }
    let counts = host.store().count_identities(&host.org).await?;
    let open = counts.unmatched + counts.ambiguous;
    let found = format!("{} companies, {open} customers of providers without one", counts.companies);
    match open {
        0 => findings.add("companies", State::Ok, found),
        _ => findings.fix("companies", State::Warn, found, "halo-sync companies unmatched"),
    }
    Ok(())
}

async fn connections(
    app: &App,
    args: &Args,
    host: &Host,
    findings: &mut Findings,
) -> Result<(), CommandError> {
    let connections = host.store().list_connections(Some(&host.org)).await?;
    if connections.is_empty() {
        let hint = "halo-sync connect stripe --api-key-file FILE";
        findings.fix("connections", State::Warn, "no account is connected", hint);
    }
    for connection in connections {
        let name = format!("connection {}", connection.name);
        match host.services.providers.webhook_secrets(&connection).await {
            Ok(secrets) if secrets.is_empty() => findings.fix(
                &name,
                State::Warn,
                "no webhook secret: changes are seen at the next read only",
                format!(
                    "halo-sync connect {} --name {} --api-key-file FILE --webhook-secret-file FILE",
                    connection.connector, connection.name
                ),
            ),
            Ok(_) => findings.add(&name, State::Ok, "webhook secret is there and opens"),
            Err(crate::sync::SyncError::Credential(error @ CredentialError::OtherKey { .. })) => {
                findings.fix(&name, State::Fail, error.to_string(), "restore secret.key from where it was");
            }
            Err(error) => findings.add(&name, State::Fail, error.to_string()),
        }
        freshness(app, host, &connection, &name, findings).await?;
        changes(host, &connection, &name, findings).await?;
        deliveries(app, host, &connection, &name, findings).await?;
        last_audit(host, &connection, &name, findings).await?;
        if args.offline {
            let seen = host.store().find_endpoint(&host.org, &connection.id).await?;
            endpoint_faults(&name, seen.as_ref(), findings);
        }
        match connection.status {
            ConnectionStatus::Paused => findings.fix(
                &name,
                State::Warn,
                "paused",
                format!("halo-sync connections resume {}", connection.name),
            ),
            ConnectionStatus::Active | ConnectionStatus::NeedsAttention if args.offline => {}
            ConnectionStatus::Active | ConnectionStatus::NeedsAttention => {
                credentials(host, &connection, &name, findings).await;
            }
        }
    }
    Ok(())
}

/// Runs looked at for the last one that was to read what changed.
const RUNS: i64 = 20;

/// Whether the last run could read what changed, or had to read everything.
async fn changes(
    host: &Host,
    connection: &Connection,
    name: &str,
    findings: &mut Findings,
) -> Result<(), CommandError> {
    let spec = host.services.providers.connector(&connection.connector).ok().map(|c| c.spec());
    let Some(feed) = spec.and_then(|spec| spec.feed) else { return Ok(()) };
    let runs = host.store().list_runs(&host.org, Some(&connection.id), None, RUNS).await?;
    let last = runs
        .iter()
        .flat_map(|run| &run.streams)
        .find(|s| s.stream == feed.name && matches!(s.state.as_str(), "done" | "replaced"));
    let Some(why) = last.and_then(|s| s.reason.as_deref()) else { return Ok(()) };
    let found = format!("{}: {why}", feed.name);
    match feed.permission.filter(|permission| why.contains(permission)) {
        Some(permission) => {
            findings.fix(name, State::Warn, found, format!("grant the key the permission {permission}"));
        }
        None => findings.add(name, State::Warn, found),
    }
    Ok(())
}

async fn freshness(
    app: &App,
    host: &Host,
    connection: &Connection,
    name: &str,
    findings: &mut Findings,
) -> Result<(), CommandError> {
    let counts = host.store().count_records(&host.org, &connection.id).await?;
    let late: Vec<_> = counts
        .iter()
        .filter(|c| c.caught_up_at.is_none_or(|at| app.clock.now() - at > LATE))
        .map(|c| match c.caught_up_at {
            Some(at) => format!("{} (last {})", c.stream, moment(at)),
            None => format!("{} (never)", c.stream),
        })
        .collect();
    match (late.is_empty(), counts.is_empty()) {
        (_, true) => {
            findings.fix(name, State::Warn, "never read", format!("halo-sync sync {}", connection.name))
        }
        (true, false) => findings.add(name, State::Ok, "every stream was read lately"),
        (false, false) => findings.fix(
            name,
            State::Warn,
            format!("not read to the end lately: {}", late.join(", ")),
            format!("halo-sync runs list --connection {}", connection.name),
        ),
    }
    Ok(())
}

fn endpoint_faults(name: &str, endpoint: Option<&WebhookEndpoint>, findings: &mut Findings) {
    let Some(endpoint) = endpoint else { return };
    for fault in &endpoint.faults {
        findings.fix(name, State::Warn, &fault.message, &fault.hint);
    }
    if let (true, Some(id)) = (endpoint.faults.is_empty(), &endpoint.endpoint_id) {
        findings.add(name, State::Ok, format!("webhook endpoint {id} sends all that is read"));
    }
}

/// What the latest comparison with the provider found.
async fn last_audit(
    host: &Host,
    connection: &Connection,
    name: &str,
    findings: &mut Findings,
) -> Result<(), CommandError> {
    let audits = host.store().list_audits(&host.org, &connection.id, 1).await?;
    let Some(audit) = audits.first() else { return Ok(()) };
    let found = audit_line(audit);
    match audit.drift > audit.repaired {
        true => findings.fix(
            name,
            State::Warn,
            found,
            format!("halo-sync audit {} --all --repair", connection.name),
        ),
        false => findings.add(name, State::Ok, found),
    }
    Ok(())
}

/// How far back deliveries are looked at.
const LATELY: TimeDelta = TimeDelta::days(7);

/// Types that came and mean nothing here, and deliveries that failed.
async fn deliveries(
    app: &App,
    host: &Host,
    connection: &Connection,
    name: &str,
    findings: &mut Findings,
) -> Result<(), CommandError> {
    let counts = host.store().count_deliveries(&host.org, &connection.id, app.clock.now() - LATELY).await?;
    let failed: i64 = counts.iter().filter(|c| c.state == "failed").map(|c| c.count).sum();
    if failed > 0 {
        findings.fix(
            name,
            State::Warn,
            format!("{failed} webhooks of the last 7 days failed"),
            format!("halo-sync webhooks list --connection {} --state failed", connection.name),
        );
    }
    let Ok(connector) = host.services.providers.connector(&connection.connector) else { return Ok(()) };
    let asked = connector.spec().webhook_events;
    let unknown: Vec<_> = counts
        .iter()
        .filter(|c| c.state == "ignored" && !asked.contains(&c.kind.as_str()))
        .map(|c| format!("{} ({})", c.kind, c.count))
        .collect();
    if !unknown.is_empty() {
        findings.fix(
            name,
            State::Ok,
            format!(
                "{} webhook types of the last 7 days change nothing here: {}",
                unknown.len(),
                unknown.join(", ")
            ),
            format!("halo-sync webhooks register {}   (sends only what is read)", connection.name),
        );
    }
    Ok(())
}

async fn credentials(host: &Host, connection: &Connection, name: &str, findings: &mut Findings) {
    match host.execute(Request::CheckConnection { connection: connection.id.0.clone() }).await {
        Ok(answer) => {
            let missing = &answer["account"]["missing"];
            match missing.as_array().is_none_or(Vec::is_empty) {
                true => findings.add(name, State::Ok, "the credentials are good"),
                false => findings.add(name, State::Warn, format!("permissions are missing: {missing}")),
            }
            let endpoint: Option<WebhookEndpoint> =
                serde_json::from_value(answer["endpoint"].clone()).unwrap_or_default();
            endpoint_faults(name, endpoint.as_ref(), findings);
        }
        Err(error) => {
            let hint = error.what_to_type.clone().unwrap_or_else(|| {
                format!(
                    "halo-sync connect {} --name {} --api-key-file FILE",
                    connection.connector, connection.name
                )
            });
            findings.fix(name, State::Fail, error.to_string(), hint);
        }
    }
}
