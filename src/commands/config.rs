//! `halo-sync config`.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Subcommand;
use serde_json::json;

use super::{App, CommandError, ExitCode};
use crate::config::{Config, EXAMPLE, FILE_NAME, Row};

/// What is given to `config`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// What to do with settings.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Write a settings file with every key explained, at its default
    Init {
        /// Where to; `-` is stdout
        #[arg(default_value = FILE_NAME)]
        file: PathBuf,
        /// Overwrite
        #[arg(long)]
        force: bool,
    },
    /// Every setting with its value and where it comes from; secrets are not shown
    Show,
    /// Say whether the settings can be used, and name every mistake
    Check,
    /// The settings file's JSON Schema, for editors
    Schema,
}

/// Writes, shows or checks settings.
///
/// # Errors
///
/// Settings that cannot be used (exit code 6); a file that exists or cannot be written.
pub fn run(app: &App, args: &Args) -> Result<(), CommandError> {
    match &args.action {
        Action::Init { file, .. } if file == Path::new("-") => app.out.raw(EXAMPLE.as_bytes()),
        Action::Init { file, force } => init(app, file, *force),
        Action::Show => {
            let loaded = app.settings()?;
            if let Some(file) = &loaded.file {
                app.out.note(&format!("settings file: {}", file.display()));
            }
            app.out.list(
                &loaded.rows(),
                &[
                    ("SETTING", &|row: &Row| row.key.clone()),
                    ("VALUE", &|row: &Row| match &row.value {
                        serde_json::Value::Null => "not set".to_owned(),
                        serde_json::Value::String(text) => text.clone(),
                        other => other.to_string(),
                    }),
                    ("FROM", &|row: &Row| row.origin.clone()),
                ],
                "There are no settings.",
            )
        }
        Action::Check => {
            let loaded = app.settings().map_err(|e| CommandError { what_to_type: None, ..e })?;
            let file = loaded.file.as_ref().map(|path| path.display().to_string());
            app.out.one(&json!({ "ok": true, "file": file }), |_| match &file {
                Some(file) => format!("ok: {file}"),
                None => "ok: no settings file, defaults".to_owned(),
            })
        }
        Action::Schema => {
            let text = serde_json::to_string_pretty(&Config::schema()).context("the schema is not JSON")?;
            app.out.line(&text)
        }
    }
}

fn init(app: &App, file: &Path, force: bool) -> Result<(), CommandError> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true);
    if force {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    let mut opened = options.open(file).map_err(|e| {
        let error = CommandError::new(ExitCode::Failed, "io", format!("cannot write {}", file.display()));
        if e.kind() == std::io::ErrorKind::AlreadyExists {
            error.why("it exists already").try_this("halo-sync config init --force")
        } else {
            error.why(e.to_string())
        }
    })?;
    opened.write_all(EXAMPLE.as_bytes()).with_context(|| format!("cannot write {}", file.display()))?;
    app.out.note(&format!("Wrote {}. See what is in force: halo-sync config show", file.display()));
    Ok(())
}
