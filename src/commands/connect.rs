//! `halo-sync connect`.

use std::path::PathBuf;

use super::cli::STDIN_HINT;

/// What is given to `connect`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which connector, as `halo-sync connectors list` names it
    pub connector: String,
    /// File that holds the API key; `-` reads it from stdin
    #[arg(long, value_name = STDIN_HINT)]
    pub api_key_file: PathBuf,
    /// File that holds the webhook signing secret
    #[arg(long, value_name = "FILE")]
    pub webhook_secret_file: Option<PathBuf>,
    /// Name of the connection [default: the connector's]
    #[arg(long)]
    pub name: Option<String>,
    /// Address of the provider's API, where it is not the usual one
    #[arg(long, value_name = "URL")]
    pub base_url: Option<String>,
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
