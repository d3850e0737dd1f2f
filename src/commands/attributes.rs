//! `halo-sync attributes`.

use clap::{Subcommand, ValueEnum};
use serde::Serialize;
use serde_json::Value;

use super::host::{Access, Host};
use super::{App, CommandError, ExitCode, moment};
use crate::domain::attributes::{Attribute, AttributeKind, AttributeName, AttributeScope};
use crate::service::Request;
use crate::store::attributes::AttributeFilter;

/// Attributes that are read at once.
const PAGE: u32 = 500;

/// What is given to `attributes`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub action: Option<Action>,
}

/// Whose attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Whose {
    /// A user's
    User,
    /// A company's
    Company,
}

/// What to do with attributes.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Traits and context keys that were ever seen
    List {
        /// Whose
        #[arg(long, value_name = "SCOPE")]
        scope: Option<Whose>,
        /// A part of the key
        #[arg(long, value_name = "TEXT")]
        search: Option<String>,
    },
    /// Say what an attribute means; the prompt shows it behind the value
    Describe {
        /// The key
        key: String,
        /// What it means; empty for nothing
        text: String,
        /// Whose
        #[arg(long, value_name = "SCOPE", default_value = "user")]
        scope: Whose,
        /// The key is one of a context entry
        #[arg(long)]
        context: bool,
        /// Whether the prompt shows it
        #[arg(long, value_name = "BOOL")]
        in_prompt: Option<bool>,
    },
    /// Print all of them, hidden ones as well: a JSON object a line
    Export,
}

impl From<Whose> for AttributeScope {
    fn from(whose: Whose) -> Self {
        match whose {
            Whose::User => Self::User,
            Whose::Company => Self::Company,
        }
    }
}

/// A row of the list.
#[derive(Debug, Serialize)]
struct Row {
    id: String,
    #[serde(flatten)]
    name: AttributeName,
    types: crate::domain::attributes::TypeCounts,
    mixed_types: bool,
    seen: i64,
    claimed: i64,
    mismatches: i64,
    sample: Option<Value>,
    first_seen: connector_sdk::Timestamp,
    last_seen: connector_sdk::Timestamp,
    description: Option<String>,
    in_prompt: Option<bool>,
    hidden: bool,
}

impl From<Attribute> for Row {
    fn from(found: Attribute) -> Self {
        Self {
            id: found.id,
            name: found.name,
            types: found.types,
            mixed_types: found.types.mixed(),
            seen: found.types.total(),
            claimed: found.claimed,
            mismatches: found.mismatches,
            sample: found.sample.map(|sample| sample.value),
            first_seen: found.first_seen,
            last_seen: found.last_seen,
            description: found.description,
            in_prompt: found.in_prompt,
            hidden: found.hidden,
        }
    }
}

/// Lists, describes or exports attributes.
///
/// # Errors
///
/// A description that is too long; a database that cannot be read.
pub async fn run(app: &App, args: Args) -> Result<(), CommandError> {
    let loaded = app.settings()?;
    app.start_logs(&loaded, false)?;
    match args.action.unwrap_or(Action::List { scope: None, search: None }) {
        Action::List { scope, search } => {
            let host = Host::open(app, loaded, Access::Read).await?;
            let filter =
                AttributeFilter { scope: scope.map(Into::into), part: search, ..AttributeFilter::default() };
            let rows = all(&host, &filter).await?;
            app.out.list(
                &rows,
                &[
                    ("SCOPE", &|row: &Row| super::word(&row.name.scope)),
                    ("KIND", &|row| super::word(&row.name.kind)),
                    ("KEY", &|row| row.name.key.clone()),
                    ("SEEN", &|row| row.seen.to_string()),
                    ("TYPES", &|row| if row.mixed_types { "mixed".to_owned() } else { String::new() }),
                    ("SAMPLE", &|row| row.sample.as_ref().map(Value::to_string).unwrap_or_default()),
                    ("LAST SEEN", &|row| moment(row.last_seen)),
                    ("DESCRIPTION", &|row| row.description.clone().unwrap_or_default()),
                ],
                "No attribute was seen yet. They come with the first users/identify.",
            )
        }
        Action::Export => {
            let host = Host::open(app, loaded, Access::Read).await?;
            let filter = AttributeFilter { hidden: true, ..AttributeFilter::default() };
            all(&host, &filter).await?.iter().try_for_each(|row| app.out.json(row))
        }
        Action::Describe { key, text, scope, context, in_prompt } => {
            if text.chars().count() > crate::domain::attributes::DESCRIPTION_CHARS {
                return Err(CommandError::new(
                    ExitCode::Failed,
                    "invalid_value",
                    format!(
                        "a description has at most {} characters",
                        crate::domain::attributes::DESCRIPTION_CHARS
                    ),
                ));
            }
            let host = Host::open(app, loaded, Access::WriteIfFree).await?;
            let kind = if context { AttributeKind::Context } else { AttributeKind::Trait };
            let name = AttributeName { scope: scope.into(), kind, key: key.clone() };
            let answer =
                host.execute(Request::DescribeAttribute { name, description: text, in_prompt }).await?;
            app.out.one(&answer, |_| format!("{key} is described"))
        }
    }
}

async fn all(host: &Host, filter: &AttributeFilter) -> Result<Vec<Row>, CommandError> {
    let (mut all, mut after): (Vec<Row>, Option<AttributeName>) = (Vec::new(), None);
    loop {
        let rows = host.store().list_attributes(&host.org, filter, after.as_ref(), PAGE).await?;
        let Some(last) = rows.last() else { return Ok(all) };
        after = Some(last.name.clone());
        all.extend(rows.into_iter().map(Row::from));
    }
}
