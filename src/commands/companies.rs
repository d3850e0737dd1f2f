//! `halo-sync companies`.

use clap::Subcommand;

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
    /// Say that a provider's customer is none of the companies; no rule overrules it
    Unlink {
        /// The provider's id (`cus_…`)
        party: String,
        /// Which connection, where the id exists in more than one
        #[arg(long, value_name = "CONN")]
        connection: Option<String>,
    },
}
