//! `halo-sync companies`.

use clap::Subcommand;
use connector_sdk::RecordKey;
use serde_json::{Map, Value, json};

use super::host::{Access, Host};
use super::{App, CommandError, ExitCode, import, word};
use crate::context::money::Money;
use crate::domain::companies::Company;
use crate::product::ImportKind;
use crate::service::{Failure, Request, find_company};
use crate::store::identity::{CompanyLink, LinkState};

/// What is given to `companies`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub action: Option<Action>,
}

/// What to do with companies. COMPANY is an id (`cmp_…`) or the id that your product gave.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Companies
    List {
        /// Beginning of a word of the name, the domain or your id
        #[arg(long, value_name = "TEXT")]
        search: Option<String>,
        /// At most this many
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// One company: fields, where each comes from, linked customers of providers
    Show {
        /// Which company
        company: String,
    },
    /// Customers of providers that are no company yet, or could be more than one, and why
    Unmatched {
        /// Only of this connection
        #[arg(long, value_name = "CONN")]
        connection: Option<String>,
        /// At most this many
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Say which company a provider's customer is; no rule overrules it
    Link {
        /// The provider's id (`cus_…`)
        party: String,
        /// Which company
        company: String,
        /// Which connection, where the id exists in more than one
        #[arg(long, value_name = "CONN")]
        connection: Option<String>,
    },
    /// Enter values by hand; they win over everything until they are released
    Set {
        /// Which company
        company: String,
        /// A field or trait and its value (plan=Gold, renewal_date=2027-01-31)
        #[arg(value_name = "FIELD=VALUE", required = true)]
        values: Vec<String>,
    },
    /// Release values that were entered by hand
    Release {
        /// Which company
        company: String,
        /// Fields or traits
        #[arg(value_name = "FIELD", required = true)]
        fields: Vec<String>,
    },
    /// Import companies from a CSV or JSON Lines file
    ///
    /// Made or updated by your product's id. An interrupted import goes on with --resume. Rows that are refused are kept with the reason; then the exit code is 3.
    Import(Box<import::Args>),
    /// Say that a provider's customer is none of the companies; no rule overrules it
    Unlink {
        /// The provider's id (`cus_…`)
        party: String,
        /// Which connection, where the id exists in more than one
        #[arg(long, value_name = "CONN")]
        connection: Option<String>,
    },
}

/// Lists, shows, links companies, or enters values by hand.
///
/// # Errors
///
/// Something that does not exist; a value of the wrong type.
pub async fn run(app: &App, args: Args) -> Result<ExitCode, CommandError> {
    let args = match args.action {
        Some(Action::Import(args)) => return import::run(app, ImportKind::Companies, *args).await,
        action => Args { action },
    };
    act(app, args).await.map(|()| ExitCode::Ok)
}

async fn act(app: &App, args: Args) -> Result<(), CommandError> {
    let loaded = app.settings()?;
    app.start_logs(&loaded, false)?;
    let read = |access| Host::open(app, loaded.clone(), access);
    match args.action {
        // An import has gone its own way.
        None | Some(Action::Import(_)) => list(app, &read(Access::Read).await?, None, 50).await,
        Some(Action::List { search, limit }) => {
            list(app, &read(Access::Read).await?, search.as_deref(), limit).await
        }
        Some(Action::Show { company }) => show(app, &read(Access::Read).await?, &company).await,
        Some(Action::Unmatched { connection, limit }) => {
            unmatched(app, &read(Access::Read).await?, connection.as_deref(), limit).await
        }
        Some(Action::Link { party, company, connection }) => {
            let host = read(Access::WriteIfFree).await?;
            link(app, &host, &party, Some(company), connection).await
        }
        Some(Action::Unlink { party, connection }) => {
            let host = read(Access::WriteIfFree).await?;
            link(app, &host, &party, None, connection).await
        }
        Some(Action::Set { company, values }) => {
            let mut traits = Map::new();
            for text in &values {
                let (key, value) = text
                    .split_once('=')
                    .ok_or_else(|| CommandError::usage(format!("{text:?} is not FIELD=VALUE")))?;
                let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
                traits.insert(key.to_owned(), value);
            }
            let host = read(Access::WriteIfFree).await?;
            let names: Vec<_> = traits.keys().cloned().collect();
            let answer = host.execute(Request::SetCompany { company, traits }).await?;
            app.out.one(&answer, |_| {
                format!("{} set by hand; release with: halo-sync companies release", names.join(", "))
            })
        }
        Some(Action::Release { company, fields }) => {
            let host = read(Access::WriteIfFree).await?;
            let names = fields.join(", ");
            let answer = host.execute(Request::ReleaseCompany { company, fields }).await?;
            app.out.one(&answer, |_| format!("{names} released"))
        }
    }
}

fn amount_text(minor: i64, currency: &str) -> String {
    Money::new(minor, currency).map_or_else(|| format!("{minor} {currency}"), |money| money.to_string())
}

fn mrr(company: &Company) -> String {
    match (company.fields.mrr_minor, company.fields.mrr_currency.as_deref()) {
        (Some(amount), Some(currency)) => {
            let test = if company.test { " TEST" } else { "" };
            format!("{}{test}", amount_text(amount, currency))
        }
        _ => "—".to_owned(),
    }
}

async fn list(app: &App, host: &Host, search: Option<&str>, limit: u32) -> Result<(), CommandError> {
    let mut rows = Vec::new();
    let mut after: Option<String> = None;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    while rows.len() < limit {
        let want = i64::try_from((limit - rows.len()).min(500)).unwrap_or(500);
        let page = host.store().list_companies(&host.org, search, after.as_deref(), want).await?;
        rows.extend(page.rows);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let dash = || "—".to_owned();
    app.out.list(
        &rows,
        &[
            ("COMPANY", &|c: &Company| c.fields.name.clone().unwrap_or_else(dash)),
            ("PLAN", &|c| c.fields.plan.clone().unwrap_or_else(dash)),
            ("MRR", &mrr),
            ("STATUS", &|c| {
                let status = c.custom_fields.get("subscription_status").and_then(Value::as_str);
                status.map_or_else(dash, str::to_owned)
            }),
            ("RENEWAL", &|c| c.fields.renewal_date.map_or_else(dash, |d| d.to_string())),
            ("TEAM", &|c| c.fields.team_size.map_or_else(dash, |n| n.to_string())),
            ("YOUR ID", &|c| c.external_id.clone().unwrap_or_else(dash)),
            ("ID", &|c| c.id.0.clone()),
        ],
        "No companies yet. They come with a connected account:  halo-sync connect stripe --api-key-file FILE",
    )?;
    let counts = host.store().count_identities(&host.org).await?;
    if counts.unmatched + counts.ambiguous > 0 {
        app.out.note(&format!(
            "{} customers of providers match no company, {} more than one:  halo-sync companies unmatched",
            counts.unmatched, counts.ambiguous
        ));
    }
    if after.is_some() {
        app.out.note(&format!("{} companies in all; see more with --limit", counts.companies));
    }
    Ok(())
}

async fn show(app: &App, host: &Host, text: &str) -> Result<(), CommandError> {
    let company = find_company(host.store(), &host.org, text).await?;
    let links = host.store().list_links(&host.org, None, Some(&company.id), None, 500).await?.rows;
    let users = host.store().list_users(&host.org, Some(&company.id), None, 50).await?.rows;
    let changes = host.store().list_field_changes(&host.org, &company.id, None, 20).await?;
    let answer = json!({ "company": company, "links": links, "users": users, "changes": changes });
    app.out.one(&answer, |_| {
        let test = if company.test { " (TEST)" } else { "" };
        let mut lines =
            vec![format!("{}{test}  {}", company.fields.name.as_deref().unwrap_or("—"), company.id)];
        lines.extend(company.external_id.iter().map(|id| format!("your id  {id}")));
        let source = |key: &str| {
            company
                .provenance
                .get(key)
                .map_or_else(String::new, |s| format!("   [{}: {}]", word(&s.rank), s.source))
        };
        if let (Some(amount), Some(currency)) =
            (company.fields.mrr_minor, company.fields.mrr_currency.as_deref())
        {
            lines.push(format!("  mrr = {}{}", amount_text(amount, currency), source("mrr_minor")));
        }
        if let (Some(amount), Some(currency)) =
            (company.fields.arr_minor, company.fields.mrr_currency.as_deref())
        {
            lines.push(format!("  arr = {}{}", amount_text(amount, currency), source("arr_minor")));
        }
        let columns = json!(company.fields);
        for (key, value) in columns.as_object().into_iter().flatten().chain(&company.custom_fields) {
            if !matches!(key.as_str(), "name" | "mrr_minor" | "arr_minor" | "mrr_currency") {
                lines.push(format!("  {key} = {}{}", plain(value), source(key)));
            }
        }
        for link in &links {
            let rule = link.rule.as_deref().unwrap_or("no rule");
            lines.push(format!(
                "party    {} ({}), by {rule}",
                link.party.id,
                link.party_label.as_deref().unwrap_or("—")
            ));
        }
        lines.push(format!("users    {}", users.len()));
        for change in changes.iter().take(5) {
            lines.push(format!(
                "changed  {}: {} -> {}",
                change.field,
                plain(&change.old),
                plain(&change.new)
            ));
        }
        lines.join("\n")
    })?;
    app.out.note(&format!(
        "Why each figure is what it is:  halo-sync derive --company {} --explain",
        company.id
    ));
    Ok(())
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

async fn unmatched(app: &App, host: &Host, connection: Option<&str>, limit: u32) -> Result<(), CommandError> {
    let connection = match connection {
        Some(name) => Some(host.services.connection(&host.org, name).await?.id),
        None => None,
    };
    let mut links = Vec::new();
    for state in [LinkState::Ambiguous, LinkState::Unmatched] {
        links.extend(
            host.store().list_links(&host.org, Some(state), None, None, i64::from(limit)).await?.rows,
        );
    }
    links.retain(|link| connection.as_ref().is_none_or(|id| link.connection_id == *id));
    links.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    app.out.list(
        &links,
        &[
            ("PARTY", &|l: &CompanyLink| l.party.id.clone()),
            ("CALLED", &|l| l.party_label.clone().unwrap_or_default()),
            ("STATE", &|l| word(&l.state)),
            ("WHY", &|l| l.reason.clone().unwrap_or_default()),
        ],
        "Every customer of every provider is a company.",
    )?;
    if !links.is_empty() {
        app.out.note("Say which company one is:  halo-sync companies link PARTY COMPANY");
    }
    Ok(())
}

/// A party is named by its id alone; which connection and stream it is of is looked up.
async fn link(
    app: &App,
    host: &Host,
    party: &str,
    company: Option<String>,
    connection: Option<String>,
) -> Result<(), CommandError> {
    let connections = match &connection {
        Some(name) => vec![host.services.connection(&host.org, name).await?],
        None => host.store().list_connections(Some(&host.org)).await?,
    };
    let mut found = Vec::new();
    for connection in connections {
        let spec = host.services.providers.connector(&connection.connector).map_err(Failure::from)?.spec();
        let keys: Vec<_> =
            spec.streams.iter().filter(|s| s.party).map(|s| RecordKey::new(s.name, party)).collect();
        let records = host.store().load_records(&host.org, &connection.id, &keys).await?;
        found.extend(records.into_iter().map(|record| (connection.id.clone(), record.key)));
    }
    let (connection, party) = match <[_; 1]>::try_from(found) {
        Ok([only]) => only,
        Err(none) if none.is_empty() => {
            return Err(CommandError::not_found(format_args!("customer {party} in any connection"))
                .try_this("halo-sync companies unmatched"));
        }
        Err(several) => {
            return Err(CommandError::usage(format!("{party} exists in {} connections", several.len()))
                .try_this("add --connection CONN"));
        }
    };
    let linked = company.is_some();
    let answer =
        host.execute(Request::Link { connection: connection.0, party: party.clone(), company }).await?;
    app.out.one(&answer, |answer| match linked {
        true => format!("{} is {} now; no rule overrules it", party.id, plain(&answer["company"])),
        false => format!("{} is no company's now; no rule overrules it", party.id),
    })
}
