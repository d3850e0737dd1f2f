//! `halo-sync connections`.

use clap::Subcommand;
use connector_sdk::Mode;
use serde_json::{Value, json};

use super::host::{Access, Host};
use super::{App, CommandError, ExitCode, moment};
use crate::domain::connections::{Connection, ConnectionStatus};
use crate::domain::watch::Audit;
use crate::service::Request;
use crate::store::grants::{Grant, GrantState};

/// What is given to `connections`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub action: Option<Action>,
}

/// What to do with connections. CONN is an id (`con_…`) or a name.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Connected accounts with their state and freshness
    List,
    /// One connection: streams, limits, schedules, webhook address
    Show {
        /// Which connection
        #[arg(value_name = "CONN")]
        connection: String,
    },
    /// Ask the provider whether the credentials are good and which permissions are missing
    Check {
        /// Which connection
        #[arg(value_name = "CONN")]
        connection: String,
    },
    /// Stop reading; webhooks are kept until resumed
    Pause {
        /// Which connection
        #[arg(value_name = "CONN")]
        connection: String,
    },
    /// Go on reading
    Resume {
        /// Which connection
        #[arg(value_name = "CONN")]
        connection: String,
    },
    /// Remove a connection with its records, links, runs and secrets; companies stay
    Rm {
        /// Which connection
        #[arg(value_name = "CONN")]
        connection: String,
        /// The connection's name once more, instead of being asked for it
        #[arg(long, value_name = "NAME")]
        confirm: Option<String>,
    },
}

/// Lists, shows, checks, pauses, resumes or removes connections.
///
/// # Errors
///
/// An unknown connection; what the provider says to a check.
pub async fn run(app: &App, args: Args) -> Result<(), CommandError> {
    let loaded = app.settings()?;
    app.start_logs(&loaded, false)?;
    let (request, done) = match args.action {
        None | Some(Action::List) => return list(app, &Host::open(app, loaded, Access::Read).await?).await,
        Some(Action::Show { connection }) => {
            return show(app, &Host::open(app, loaded, Access::Read).await?, &connection).await;
        }
        Some(Action::Check { connection }) => (Request::CheckConnection { connection }, "checked"),
        Some(Action::Pause { connection }) => (Request::PauseConnection { connection }, "paused"),
        Some(Action::Resume { connection }) => (Request::ResumeConnection { connection }, "resumed"),
        Some(Action::Rm { connection, confirm }) => {
            return remove(app, &Host::open(app, loaded, Access::WriteIfFree).await?, connection, confirm)
                .await;
        }
    };
    let host = Host::open(app, loaded, Access::WriteIfFree).await?;
    let answer = host.execute(request).await?;
    app.out.one(&answer, |answer| {
        let missing = answer["account"]["missing"].as_array().map_or(0, Vec::len);
        let mut lines = vec![match missing {
            0 => done.to_owned(),
            n => format!("{done}; {n} permissions are missing: {}", answer["account"]["missing"]),
        }];
        for fault in answer["endpoint"]["faults"].as_array().into_iter().flatten() {
            for part in ["message", "hint"] {
                lines.push(format!("webhooks  {}", fault[part].as_str().unwrap_or_default()));
            }
        }
        lines.join("\n")
    })
}

fn state(connection: &Connection) -> &'static str {
    match connection.status {
        ConnectionStatus::Active => "active",
        ConnectionStatus::Paused => "paused",
        ConnectionStatus::NeedsAttention => "needs attention",
    }
}

async fn list(app: &App, host: &Host) -> Result<(), CommandError> {
    let connections = host.store().list_connections(Some(&host.org)).await?;
    let mut rows = Vec::new();
    for connection in connections {
        let counts = host.store().count_records(&host.org, &connection.id).await?;
        let oldest = counts.iter().map(|c| c.caught_up_at).min().flatten();
        let records: i64 = counts.iter().map(|c| c.records).sum();
        rows.push((connection, records, oldest));
    }
    if app.out.is_json() {
        return rows.iter().try_for_each(|(connection, records, fresh)| {
            app.out.json(&json!({ "connection": connection, "records": records, "fresh_as_of": fresh }))
        });
    }
    app.out.list(
        &rows,
        &[
            ("NAME", &|(c, _, _): &(Connection, i64, _)| c.name.clone()),
            ("CONNECTOR", &|(c, _, _)| c.connector.clone()),
            ("MODE", &|(c, _, _)| if c.mode == Mode::Test { "TEST" } else { "live" }.to_owned()),
            ("STATE", &|(c, _, _)| state(c).to_owned()),
            ("RECORDS", &|(_, records, _)| records.to_string()),
            ("FRESH AS OF", &|(_, _, fresh)| fresh.map_or_else(|| "never".to_owned(), moment)),
            ("ID", &|(c, _, _)| c.id.0.clone()),
            ("WHY", &|(c, _, _)| c.status_reason.clone().unwrap_or_default()),
        ],
        "No account is connected. Connect one:  halo-sync connect stripe --api-key-file FILE",
    )
}

async fn show(app: &App, host: &Host, name: &str) -> Result<(), CommandError> {
    let connection = host.services.connection(&host.org, name).await?;
    let counts = host.store().count_records(&host.org, &connection.id).await?;
    let schedules: Vec<_> = host
        .store()
        .list_schedules(Some(&host.org))
        .await?
        .into_iter()
        .filter(|s| s.connection_id.as_ref() == Some(&connection.id))
        .collect();
    let endpoint = host.store().find_endpoint(&host.org, &connection.id).await?;
    let grant = host.store().find_grant(&host.org, &connection.id).await?;
    let audit = host.store().list_audits(&host.org, &connection.id, 1).await?.pop();
    let webhook = format!("{}{}", host.webhook_base(), host.services.providers.webhook_path(&connection));
    let spec = host.services.providers.connector(&connection.connector).ok().map(|c| c.spec());
    let feed = spec.and_then(|spec| spec.feed).map(|feed| feed.name);
    let answer = json!({ "connection": connection, "streams": counts, "schedules": schedules, "webhook_url": webhook, "endpoint": endpoint, "audit": audit, "grant": grant });
    app.out.one(&answer, |_| {
        let mut lines = vec![
            format!(
                "{} ({}), {}, {}",
                connection.name,
                connection.id,
                connection.connector,
                state(&connection)
            ),
            format!("account   {}", connection.account_id.as_deref().unwrap_or("not offered by this server")),
            format!("mode      {}", if connection.mode == Mode::Test { "TEST" } else { "live" }),
            format!("webhooks  {webhook}"),
        ];
        if let Some(endpoint) = &endpoint {
            let id = endpoint.endpoint_id.as_deref().unwrap_or("none");
            let well = if endpoint.faults.is_empty() { "well" } else { "not well" };
            lines.push(format!("endpoint  {id}, {well} at {}", moment(endpoint.checked_at)));
            lines.extend(
                endpoint.faults.iter().map(|f| format!("          {}\n          {}", f.message, f.hint)),
            );
        }
        lines.extend(grant.iter().map(|grant| format!("access    {}", grant_line(grant))));
        lines.extend(audit.iter().map(|audit| format!("audit     {}", audit_line(audit))));
        lines.extend(connection.status_reason.iter().map(|why| format!("why       {why}")));
        for count in &counts {
            let fresh = count.caught_up_at.map_or_else(|| "never read to its end".to_owned(), moment);
            // A list of changes holds none.
            let holds = match feed {
                Some(feed) if feed == count.stream => "what changed".to_owned(),
                _ => format!("{} records", count.records),
            };
            lines.push(format!("stream    {}: {holds}, {fresh}", count.stream));
        }
        for schedule in &schedules {
            lines.push(format!(
                "schedule  {} ({}) {}, next {}",
                schedule.expression,
                schedule.time_zone,
                schedule.args["kind"].as_str().unwrap_or_default(),
                moment(schedule.next_run_at)
            ));
        }
        lines.join("\n")
    })
}

/// A grant in one line.
fn grant_line(grant: &Grant) -> String {
    match (grant.state, grant.life.expires_at) {
        (GrantState::Refused, _) => "a person must grant it again".to_owned(),
        (GrantState::Good, Some(at)) => {
            format!("granted by OAuth; the token works until {} and is renewed before", moment(at))
        }
        (GrantState::Good, None) => "granted by OAuth".to_owned(),
    }
}

/// An audit in one line.
pub(super) fn audit_line(audit: &Audit) -> String {
    let found = match audit.drift {
        0 => "no drift".to_owned(),
        drift => format!("{drift} differed from the provider, {} repaired", audit.repaired),
    };
    format!("{} records compared at {}, {found}", audit.compared, moment(audit.finished_at))
}

async fn remove(app: &App, host: &Host, name: String, confirm: Option<String>) -> Result<(), CommandError> {
    let connection = host.services.connection(&host.org, &name).await?;
    let counts = host.store().count_records(&host.org, &connection.id).await?;
    let records: i64 = counts.iter().map(|c| c.records).sum();
    if confirm.as_deref() != Some(connection.name.as_str()) {
        return Err(CommandError::new(
            ExitCode::Usage,
            "confirmation_needed",
            format!(
                "this removes {} with {records} records, its links, runs, webhooks and secrets",
                connection.name
            ),
        )
        .try_this(format!("halo-sync connections rm {name} --confirm {}", connection.name)));
    }
    let answer: Value =
        host.execute(Request::RemoveConnection { connection: connection.id.0.clone() }).await?;
    app.out.one(&answer, |_| format!("removed {} and {records} records", connection.name))?;
    if answer["endpoint"]["removed"] == false {
        let text = |name: &str| answer["endpoint"][name].as_str().unwrap_or_default().to_owned();
        app.out.warn(&format!(
            "endpoint {} is still at the provider ({}): delete it there, or it goes on sending",
            text("id"),
            text("why")
        ));
    }
    if answer["grant"]["revoked"] == false {
        app.out.warn(&format!(
            "the provider could not be told that access has ended ({}): remove the app there",
            answer["grant"]["why"].as_str().unwrap_or_default()
        ));
    }
    Ok(())
}
