//! `halo-sync keys`.

use clap::Subcommand;

/// What is given to `keys`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub action: Option<Action>,
}

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Class {
    /// For a backend: trusted.
    Server,
    /// For a browser: may only claim.
    Publishable,
}

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Make a key; it is shown once and only its hash is kept
    Create {
        /// What the key may do
        #[arg(long)]
        class: Class,
        /// A name to know it by
        #[arg(long)]
        name: String,
    },
    /// Keys, without the keys themselves
    List,
    /// Make a key stop working
    Revoke {
        /// Which key (`key_…`)
        #[arg(value_name = "KEY")]
        key: String,
    },
}
