//! `halo-sync webhooks`.

use std::time::Duration;

use clap::Subcommand;
use serde_json::{Value, json};

use super::host::{Access, Host};
use super::when::{When, when};
use super::{App, CommandError, ExitCode, moment};
use crate::service::{Deliveries, Request};
use crate::store::inbox::Delivery;

/// What is given to `webhooks`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub action: Option<Action>,
}

/// A state that deliveries are listed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum State {
    /// Waits to be processed.
    Pending,
    /// What it named was read again.
    Applied,
    /// Changes nothing here; the reason says why.
    Ignored,
    /// Could not be processed; the reason says why.
    Failed,
}

/// Which deliveries.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Which {
    /// Only of this connection: its id (`con_…`) or name
    #[arg(long, value_name = "CONN")]
    pub connection: Option<String>,
    /// Only about this company: its id, external id or name
    #[arg(long)]
    pub company: Option<String>,
    /// Only in this state
    #[arg(long)]
    pub state: Option<State>,
    /// Only of this type; `invoice.*` for all that begin so
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Option<String>,
    /// Only received since: 2026-11-22T10:00:00Z, 2026-11-22, or 24h for so long ago
    #[arg(long, value_name = "WHEN", value_parser = when)]
    pub since: Option<When>,
    /// Only received before
    #[arg(long, value_name = "WHEN", value_parser = when)]
    pub until: Option<When>,
}

/// What to do with webhooks.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Deliveries, newest first: what they named, what became of them and why
    List {
        /// Which.
        #[command(flatten)]
        which: Which,
        /// At most this many
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// One delivery
    Show {
        /// Which: its id (`dlv_…`) or the provider's id of the event (`evt_…`)
        #[arg(value_name = "ID")]
        id: String,
        /// With the body, which may hold customers' data
        #[arg(long)]
        body: bool,
    },
    /// Process deliveries again
    ///
    /// What they name is read again from the provider, so a replay changes only what is not as the provider has it, and the same replay twice changes nothing more.
    #[command(group(clap::ArgGroup::new("meant").required(true).multiple(true)
        .args(["id", "since", "until", "company", "state", "kind"])))]
    Replay {
        /// Which: ids (`dlv_…`) or the provider's ids of the events (`evt_…`)
        #[arg(value_name = "ID", conflicts_with_all = ["connection", "company", "state", "kind", "since", "until"])]
        id: Vec<String>,
        /// Which.
        #[command(flatten)]
        which: Which,
        /// Do not wait until they are processed
        #[arg(long)]
        detach: bool,
    },
    /// Register this installation's address at the provider, or put right what is registered
    ///
    /// Needs a key that may write webhook endpoints. The signing secret is stored sealed and never shown. Asking twice makes no second endpoint.
    Register {
        /// Which connection: its id (`con_…`) or name
        #[arg(value_name = "CONN")]
        connection: String,
        /// How the world reaches this installation [default: the setting server.public_url]
        #[arg(long, value_name = "URL")]
        url: Option<String>,
    },
}

/// How often a delivery that another process works on is looked at, and for how long.
const LOOK: Duration = Duration::from_millis(100);
const LOOKS: u32 = 600;
/// Deliveries that are followed by themselves; of more only the first are.
const FOLLOWED: usize = 1_000;

impl Which {
    fn deliveries(&self, app: &App, ids: Vec<String>) -> Deliveries {
        let now = app.clock.now();
        Deliveries {
            ids,
            connection: self.connection.clone(),
            company: self.company.clone(),
            state: self.state.map(|state| {
                match state {
                    State::Pending => "pending",
                    State::Applied => "applied",
                    State::Ignored => "ignored",
                    State::Failed => "failed",
                }
                .to_owned()
            }),
            kind: self.kind.clone(),
            since: self.since.map(|when| when.instant(now)),
            until: self.until.map(|when| when.instant(now)),
        }
    }
}

/// Lists, shows or replays deliveries, or registers the endpoint that they come through.
///
/// # Errors
///
/// An unknown delivery, connection or company; what the provider says to a registration. Exit code 1 when a
/// replayed delivery failed.
pub async fn run(app: &App, args: Args) -> Result<ExitCode, CommandError> {
    let loaded = app.settings()?;
    app.start_logs(&loaded, false)?;
    let action = args.action.unwrap_or(Action::List { which: Which::default(), limit: 50 });
    match action {
        Action::List { which, limit } => {
            let host = Host::open(app, loaded, Access::Read).await?;
            list(app, &host, &which, limit).await?;
        }
        Action::Show { id, body } => {
            let host = Host::open(app, loaded, Access::Read).await?;
            show(app, &host, &id, body).await?;
        }
        Action::Replay { id, which, detach } => {
            let host = Host::open(app, loaded, Access::WriteIfFree).await?;
            return replay(app, &host, which.deliveries(app, id), detach).await;
        }
        Action::Register { connection, url } => {
            let host = Host::open(app, loaded, Access::WriteIfFree).await?;
            register(app, &host, connection, url).await?;
        }
    }
    Ok(ExitCode::Ok)
}

/// Registers a connection's endpoint and says what was done.
pub(super) async fn register(
    app: &App,
    host: &Host,
    connection: String,
    url: Option<String>,
) -> Result<(), CommandError> {
    // How the world reaches it is this command's setting where the running process has none.
    let url = url.or_else(|| host.services.public_url.clone());
    let answer = host.execute(Request::RegisterWebhook { connection, public_url: url }).await?;
    app.out.one(&answer, |answer| {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let endpoint = &answer["endpoint"];
        let mut lines = vec![format!(
            "{}  endpoint {} sends to {}",
            text(&answer["did"]),
            text(&endpoint["endpoint_id"]),
            text(&endpoint["url"])
        )];
        for fault in endpoint["faults"].as_array().into_iter().flatten() {
            lines.push(format!("but      {}\n         {}", text(&fault["message"]), text(&fault["hint"])));
        }
        lines.join("\n")
    })
}

fn touched(delivery: &Delivery) -> String {
    match delivery.touched.as_slice() {
        [] => String::new(),
        [first] => first.to_string(),
        [first, rest @ ..] => format!("{first} +{}", rest.len()),
    }
}

async fn list(app: &App, host: &Host, which: &Which, limit: u32) -> Result<(), CommandError> {
    let wanted = which.deliveries(app, Vec::new());
    let found = host.services.deliveries(&host.org, &wanted, i64::from(limit)).await?;
    let full = found.len() == usize::try_from(limit).unwrap_or(usize::MAX);
    app.out.list(
        &found,
        &[
            ("RECEIVED", &|d: &Delivery| moment(d.received_at)),
            ("TYPE", &|d| d.kind.clone()),
            ("STATE", &|d| d.state.clone()),
            ("NAMED", &touched),
            ("EVENT", &|d| d.event_id.clone()),
            ("ID", &|d| d.id.0.clone()),
            ("WHY", &|d| d.error.clone().unwrap_or_default()),
        ],
        "No such delivery.",
    )?;
    if full {
        app.out.note("There may be more: --limit N, or --until with the last one's time.");
    }
    Ok(())
}

async fn show(app: &App, host: &Host, id: &str, body: bool) -> Result<(), CommandError> {
    let delivery = host.services.delivery(&host.org, id).await?;
    let mut answer = json!(delivery);
    // What is no UTF-8 is shown as near as text can be: nothing is signed from here.
    let text = body.then(|| String::from_utf8_lossy(&delivery.body).into_owned());
    if let (Some(text), Some(members)) = (&text, answer.as_object_mut()) {
        members.insert("body".to_owned(), json!(text));
    }
    app.out.one(&answer, |_| {
        let keys = delivery.touched.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let mut lines = vec![
            format!("{} {}, {}", delivery.id, delivery.kind, delivery.state),
            format!("event     {}", delivery.event_id),
            format!("received  {}", moment(delivery.received_at)),
        ];
        lines.extend(delivery.finished_at.map(|at| format!("finished  {}", moment(at))));
        lines.extend(delivery.error.iter().map(|why| format!("why       {why}")));
        if !keys.is_empty() {
            lines.push(format!("named     {keys}"));
        }
        lines.extend(delivery.party.iter().map(|party| format!("about     {party}")));
        lines.push(format!("attempts  {}, replays {}", delivery.attempts, delivery.replays));
        lines.extend(text.iter().cloned());
        lines.join("\n")
    })
}

async fn replay(app: &App, host: &Host, wanted: Deliveries, detach: bool) -> Result<ExitCode, CommandError> {
    let answer = host.execute(Request::ReplayDeliveries { deliveries: wanted }).await?;
    let ids: Vec<String> = answer["ids"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|id| id.as_str().map(str::to_owned))
        .collect();
    let held = answer["held_by"].as_array().is_some_and(|held| !held.is_empty());
    let mut ended = json!({});
    let mut failed = 0;
    if !detach && !held && !ids.is_empty() {
        // Nobody else works jobs off while this process holds the file; on Postgres one more worker does no harm.
        let worker = if host.writes { Some(host.start_worker(app).await?) } else { None };
        let states = follow(host, &ids).await;
        if let Some(worker) = worker {
            if states.is_ok() && !host.on_postgres() {
                // Derivation waits a moment for more of a burst; here nothing more comes.
                host.store().mark_dirty(&host.org, &[], "replay", app.clock.now()).await?;
                worker.drain().await;
            }
            worker.stop(Duration::from_secs(host.loaded.config.worker.shutdown_seconds)).await;
        }
        let states = states?;
        failed = states.get("failed").copied().unwrap_or(0);
        ended = json!(states);
    }
    let answer = json!({
        "found": answer["found"],
        "replayed": answer["replayed"],
        "pending_already": answer["pending_already"],
        "held_by": answer["held_by"],
        "ended": ended,
    });
    app.out.one(&answer, |answer| {
        let mut line = format!("{} of {} deliveries processed again", answer["replayed"], answer["found"]);
        for (state, count) in answer["ended"].as_object().into_iter().flatten() {
            line.push_str(&format!(", {count} {state}"));
        }
        line
    })?;
    if held {
        app.out.note(&format!(
            "They wait: {} is not active. Resume or check it:  halo-sync connections list",
            word_list(&answer["held_by"])
        ));
    }
    Ok(if failed > 0 { ExitCode::Failed } else { ExitCode::Ok })
}

fn word_list(value: &Value) -> String {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
}

/// How many of the deliveries ended in which state. Those that take too long are `pending`.
async fn follow(
    host: &Host,
    ids: &[String],
) -> Result<std::collections::BTreeMap<String, u64>, CommandError> {
    let mut open: Vec<&String> = ids.iter().take(FOLLOWED).collect();
    let mut ended = std::collections::BTreeMap::new();
    for _ in 0..LOOKS {
        let mut still = Vec::new();
        for id in open {
            let state = host.services.delivery(&host.org, id).await?.state;
            match state.as_str() {
                "pending" => still.push(id),
                _ => *ended.entry(state).or_insert(0) += 1,
            }
        }
        open = still;
        if open.is_empty() {
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    if !open.is_empty() {
        ended.insert("pending".to_owned(), open.len() as u64);
    }
    Ok(ended)
}
