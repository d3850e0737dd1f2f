//! The command line: one file a subcommand. The only place that prints, and that uses anyhow.
//!
//! A subcommand's file holds its `Args` and its `run`. `dispatch.rs` is the one list that leads from the
//! grammar (`cli.rs`) to them. Data goes to stdout, everything else to stderr; a command ends with an
//! [`ExitCode`] and, when it failed, with a [`CommandError`] that says what failed, why, and what to type.

mod app;
pub mod attributes;
pub mod audit;
mod authorize;
pub mod backup;
pub mod cli;
pub mod companies;
pub mod completions;
pub mod config;
pub mod connect;
pub mod connections;
pub mod connectors;
pub mod contacts;
pub mod credentials;
mod demo;
pub mod derive;
mod diff;
mod dispatch;
pub mod doctor;
mod exit;
pub mod health;
mod host;
pub mod import;
mod import_progress;
pub mod jobs;
pub mod keys;
pub mod mcp;
pub mod migrate;
pub mod openapi;
pub mod orgs;
mod output;
mod progress;
mod rejects;
pub mod render;
pub mod restore;
mod resync;
mod running;
pub mod runs;
pub mod sdk;
pub mod serve;
pub mod sync;
pub mod version;
pub mod webhooks;
mod when;
pub mod worker;

pub use app::{App, Invocation};
pub use exit::{CommandError, ExitCode};
pub use output::{ColorChoice, Column, Output, Style};

use std::path::Path;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use connector_sdk::Timestamp;

/// Runs the command that the invocation asks for, prints what it has to say, and answers the exit code.
pub async fn run(invocation: Invocation) -> ExitCode {
    let style = invocation.style_before_parsing();
    let parsed = cli::Cli::try_parse_from(&invocation.args);
    let (cli, command) = match parsed {
        Ok(mut cli) => match cli.command.take() {
            Some(command) => (cli, command),
            None => return ending(&invocation.output(style), welcome(&invocation.output(style))),
        },
        Err(error) => return unparsed(&invocation.output(style), &error),
    };
    let service = command.is_service();
    let app = App::new(invocation, cli.global, command.settings());
    let result = if service {
        dispatch::run(&app, command).await
    } else {
        tokio::select! {
            result = dispatch::run(&app, command) => result,
            _ = tokio::signal::ctrl_c() => {
                Err(CommandError::new(ExitCode::Interrupted, "interrupted", "interrupted"))
            }
        }
    };
    ending_of(&app.out, result)
}

fn ending(out: &Output, result: Result<(), CommandError>) -> ExitCode {
    ending_of(out, result.map(|()| ExitCode::Ok))
}

fn ending_of(out: &Output, result: Result<ExitCode, CommandError>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(error) if error.is_broken_pipe() => ExitCode::Ok,
        Err(error) => {
            out.error(&error);
            error.exit
        }
    }
}

/// What `halo-sync` alone prints: the short help, and what to type next.
fn welcome(out: &Output) -> Result<(), CommandError> {
    out.raw(cli::Cli::command().render_help().to_string().as_bytes())?;
    out.note("\nSee it work without any account:  halo-sync serve --demo");
    Ok(())
}

/// Help and version are answers; everything else that clap says is a usage error.
fn unparsed(out: &Output, error: &clap::Error) -> ExitCode {
    let text = out.clap_text(error);
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ending(out, out.raw(text.as_bytes())),
        _ if out.is_json() => {
            let plain = error.render().to_string();
            let title = plain.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
            out.error(&CommandError::usage(title).try_this("halo-sync --help"));
            ExitCode::Usage
        }
        _ => {
            out.usage(text.trim_end());
            ExitCode::Usage
        }
    }
}

/// The text of a file; `-` is stdin.
fn read_text(file: &Path) -> Result<String, CommandError> {
    let text = if file == Path::new("-") {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(file)
    };
    text.map_err(|e| {
        CommandError::new(ExitCode::Failed, "unreadable_file", format!("{} cannot be read", file.display()))
            .why(e.to_string())
    })
}

/// An instant for people, to the second.
fn moment(at: Timestamp) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// The word that a value has in JSON.
fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word.replace('_', " "),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests;
