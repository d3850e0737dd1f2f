//! `halo-sync connectors new`: a crate for a new connector.

use std::path::PathBuf;

use serde_json::json;

use super::super::{App, CommandError, ExitCode};
use crate::kit::{Auth, KitError, NewConnector, Paging, tree};

/// What is given to `connectors new`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Its id: lower-case letters, digits, underscores (`acme_billing`)
    #[arg(value_name = "NAME")]
    pub name: String,
    /// How a connection authenticates
    #[arg(long, value_enum)]
    pub auth: AuthChoice,
    /// How the provider pages its lists
    #[arg(long, value_enum)]
    pub paging: PagingChoice,
    /// The vendor's own spelling [default: made from NAME]
    #[arg(long, value_name = "TEXT")]
    pub display_name: Option<String>,
    /// halo-sync's source tree, or a folder in it
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub tree: PathBuf,
}

/// How a connection authenticates.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum AuthChoice {
    /// A key that an operator pastes
    ApiKey,
    /// OAuth 2
    #[value(name = "oauth2")]
    OAuth2,
}

/// How the provider pages its lists.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum PagingChoice {
    /// The answer hands out a cursor
    Cursor,
    /// The caller counts rows
    Offset,
    /// The caller counts pages
    Page,
    /// The answer holds a link to the next page
    Link,
}

/// `acme_billing` as a vendor may spell it: `Acme Billing`.
fn spelled(id: &str) -> String {
    let words = id.split('_').map(|word| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect::<String>()
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Makes the connector and says what to type next.
///
/// # Errors
///
/// A bad name (2); a folder that is there already, no source tree, files that cannot be written (1).
pub fn run(app: &App, args: &Args) -> Result<(), CommandError> {
    let connector = NewConnector {
        id: args.name.clone(),
        display_name: args.display_name.clone().unwrap_or_else(|| spelled(&args.name)),
        auth: match args.auth {
            AuthChoice::ApiKey => Auth::ApiKey,
            AuthChoice::OAuth2 => Auth::OAuth2,
        },
        paging: match args.paging {
            PagingChoice::Cursor => Paging::Cursor,
            PagingChoice::Offset => Paging::Offset,
            PagingChoice::Page => Paging::Page,
            PagingChoice::Link => Paging::Link,
        },
    };
    connector.check()?;
    if app.connectors.iter().any(|known| known.spec().id == args.name) {
        return Err(CommandError::new(
            ExitCode::Failed,
            "connector_exists",
            format!("there is a connector {} already", args.name),
        )
        .try_this(format!("halo-sync connectors show {}", args.name)));
    }
    let made = connector.make(&tree(&args.tree)?)?;
    let answer = json!({
        "id": connector.id, "folder": made.folder, "package": made.package, "files": made.files,
        "lines": made.lines.iter().map(|(file, line)| json!({"file": file, "line": line})).collect::<Vec<_>>(),
    });
    app.out.one(&answer, |_| {
        let mut lines = vec![format!("made   {} ({} files)", made.folder, made.files.len())];
        lines.extend(made.lines.iter().map(|(file, line)| format!("added  {file}: {line}")));
        lines.join("\n")
    })?;
    app.out.note(&format!(
        "Next:\n  cargo test -p {}\n  cargo run -- connectors demo {}\nand then {}/README.md, docs/connectors.md.",
        made.package, connector.id, made.folder
    ));
    Ok(())
}

impl From<KitError> for CommandError {
    fn from(error: KitError) -> Self {
        let text = error.to_string();
        match error {
            KitError::Name(_) => Self::usage(text),
            KitError::NoTree(_) => Self::new(ExitCode::Failed, "no_tree", text)
                .why("a connector is a crate of halo-sync's own sources")
                .try_this("go into a checkout of halo-sync, or name it with --tree DIR"),
            KitError::Exists(_) => Self::new(ExitCode::Failed, "connector_exists", text).try_this(
                "choose another name, or remove the folder and its lines in Cargo.toml and src/registry.rs",
            ),
            KitError::Tree { .. } => {
                Self::new(ExitCode::Failed, "tree_changed", text).why("nothing was written")
            }
            KitError::Io { .. } => Self::new(ExitCode::Failed, "io", text),
        }
    }
}
