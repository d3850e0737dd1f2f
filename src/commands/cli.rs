//! The command line's grammar. What people read in `--help` is snapshotted by a test.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::output::ColorChoice;
use super::{
    attributes, audit, backup, companies, completions, config, connect, connections, connectors, contacts,
    credentials, derive, doctor, health, jobs, keys, mcp, migrate, orgs, render, restore, runs, sdk, serve,
    sync, webhooks, worker,
};
use crate::config::Flag;

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    failed
  2    the command line was not understood
  3    done, but records were rejected
  4    credentials or a permission: a person must act
  5    provider or database not available or asking to wait: try later
  6    settings or database schema
  7    audit: the mirror differs from the provider
  10   --exit-code: something would change
  130  Ctrl-C

Data goes to stdout, everything else to stderr. halo-sync sends nothing about its use to anybody.";

/// Keeps what an AI support agent knows about each customer true.
#[derive(Debug, Parser)]
#[command(name = "halo-sync", version, after_long_help = EXIT_CODES, disable_help_subcommand = true)]
pub struct Cli {
    /// Flags of every command.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Flags of every command; they stand before or after it.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Print JSON: one object a line
    #[arg(long, global = true)]
    pub json: bool,
    /// Settings file [default: ./halo-sync.toml, if it is there]
    #[arg(long, global = true, value_name = "FILE", env = "HALO_SYNC_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,
    /// Folder of the SQLite file and the secret key (setting data.dir)
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Organisation to act for (setting orgs.default)
    #[arg(long, global = true, value_name = "ORG")]
    pub org: Option<String>,
    /// Log more; twice for details
    #[arg(short, long, global = true, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    pub verbose: u8,
    /// Print data, warnings and errors only
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// When to use colour
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t)]
    pub color: ColorChoice,
    /// Never ask; fail where a question would be needed
    #[arg(long, global = true)]
    pub no_input: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the API, webhooks, schedules and a worker in one process
    ///
    /// Runs until Ctrl-C or SIGTERM. The first lets running work reach a checkpoint, a second one stops at once.
    Serve(serve::Args),
    /// Run a worker alone, beside `serve` on one Postgres
    ///
    /// Works off jobs until Ctrl-C or SIGTERM. Jobs that are not finished in time are released to other workers.
    Worker(worker::Args),
    /// Connect an account of a provider
    ///
    /// Checks the credentials before anything is stored, and says which account and mode they are for.
    Connect(connect::Args),
    /// What can be connected
    ///
    /// Without a subcommand: the list.
    Connectors(connectors::Args),
    /// Connected accounts
    ///
    /// Without a subcommand: the list.
    Connections(connections::Args),
    /// Read a connected account now
    ///
    /// Reads what may have changed since the last time; with --full everything, which also finds what is gone.
    Sync(sync::Args),
    /// Compare what is stored with what the provider has
    ///
    /// Nothing is changed without --repair. A sample of the stored records, or with --all every one; the result is kept and shown by `doctor` and `connections show`.
    Audit(audit::Args),
    /// Sync runs and what they counted
    ///
    /// Without a subcommand: the latest.
    Runs(runs::Args),
    /// Deliveries of webhooks, and the endpoint that they come through
    ///
    /// Without a subcommand: the latest.
    Webhooks(webhooks::Args),
    /// End users of your product
    Contacts(contacts::Args),
    /// Companies, and who of a provider's customers is which
    ///
    /// Without a subcommand: the list.
    Companies(companies::Args),
    /// Work out a company's fields, and say why
    ///
    /// From the records that are stored or, with --input, from a file without any database.
    Derive(derive::Args),
    /// Score how healthy customers are, and say why
    ///
    /// From a file, without any database.
    Health(health::Args),
    /// Render the text that the chat's prompt gets
    ///
    /// From what is stored or, with --input, from a file without any database. It is the same text that POST /api/sdk/chat/context answers.
    Render(render::Args),
    /// Jobs and dead letters
    ///
    /// Without a subcommand: the list.
    Jobs(jobs::Args),
    /// Traits and context keys that were ever seen, and what they mean
    ///
    /// Without a subcommand: the list. What a running process saw in the last three seconds may be missing.
    Attributes(attributes::Args),
    /// API keys, and the secret that proves who a user is
    ///
    /// Without a subcommand: the list.
    Keys(keys::Args),
    /// The keys that stored credentials are sealed with
    ///
    /// Without a subcommand: which there are, and how much is sealed with each.
    Credentials(credentials::Args),
    /// Organisations
    ///
    /// Without a subcommand: the list. Every other command acts for one of them: see --org.
    Orgs(orgs::Args),
    /// The browser SDK
    Sdk(sdk::Args),
    /// Serve what is known of customers to an agent on this machine, over MCP on stdin and stdout
    ///
    /// For an agent's settings: the command it starts. It reads only, beside whatever runs. Agents on other machines use POST /api/mcp of `serve` with a server key.
    Mcp(mcp::Args),
    /// Check that everything is as it should be
    ///
    /// Numbered checks, each OK, WARN or FAIL with what to type. Nothing is changed; the output holds no secret and can go into a bug report.
    Doctor(doctor::Args),
    /// Settings: write, show, check
    ///
    /// Settings come from flags, the environment, the settings file and the defaults, in that order.
    Config(config::Args),
    /// Copy the embedded database, beside whatever runs
    ///
    /// The copy is whole, checked and on disk when this ends. The key file is not in it. For Postgres use pg_dump.
    Backup(backup::Args),
    /// Put a copy of the embedded database in its place
    ///
    /// What was there is kept. Every connected account is then read again, for what happened since the copy was made.
    Restore(restore::Args),
    /// The database's schema
    ///
    /// Without a subcommand: the version.
    Migrate(migrate::Args),
    /// Print the OpenAPI document of the HTTP API
    ///
    /// OpenAPI 3.1, the same that `serve` answers at /openapi.json; a readable page is at /docs.
    Openapi,
    /// Print shell completions
    ///
    /// For example: halo-sync completions bash > ~/.local/share/bash-completion/completions/halo-sync
    Completions(completions::Args),
    /// Print the version
    Version,
}

impl Command {
    /// Whether the command stays until it is told to stop, and handles that itself.
    pub fn is_service(&self) -> bool {
        matches!(self, Self::Serve(_) | Self::Worker(_))
    }

    /// Settings that the command's own flags give.
    pub fn settings(&self) -> Vec<Flag> {
        match self {
            Self::Serve(args) => args.settings(),
            Self::Worker(args) => args.settings(),
            _ => Vec::new(),
        }
    }
}

impl Global {
    /// Settings that global flags give.
    pub fn settings(&self) -> Vec<Flag> {
        let given = [("--data-dir", "data.dir", &self.data_dir), ("--org", "orgs.default", &self.org)];
        given
            .into_iter()
            .filter_map(|(name, key, value)| value.as_ref().map(|value| flag(name, key, value)))
            .collect()
    }
}

/// A setting that a flag gives.
pub(super) fn flag(name: &str, key: &str, value: impl ToString) -> Flag {
    Flag { name: name.to_owned(), key: key.to_owned(), value: value.to_string() }
}

/// Where a person's or a program's file comes from; `-` is stdin.
pub(super) const STDIN_HINT: &str = "FILE|-";

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use clap::CommandFactory;

    use super::*;

    fn help(command: &mut clap::Command, text: &mut String) {
        writeln!(text, "{}\n", command.render_long_help().to_string().trim_end()).unwrap();
        writeln!(text, "{}\n", "=".repeat(80)).unwrap();
        for sub in command.get_subcommands_mut() {
            help(sub, text);
        }
    }

    /// The surface that scripts are written against cannot change unseen.
    #[test]
    fn help_is_as_it_was() {
        let mut command = Cli::command().term_width(100);
        command.build();
        let mut text = String::new();
        help(&mut command, &mut text);
        insta::assert_snapshot!("help", text);
    }

    #[test]
    fn the_grammar_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_flags_stand_before_or_after() {
        for line in [
            "halo-sync --json --data-dir D connectors list",
            "halo-sync connectors list --json --data-dir D",
            "halo-sync connectors --json list --data-dir D",
        ] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert!(cli.global.json, "{line}");
            assert_eq!(cli.global.data_dir.as_deref(), Some("D"), "{line}");
        }
    }

    #[test]
    fn what_belongs_together_is_asked_for_together() {
        let bad = [
            "halo-sync derive",
            "halo-sync health",
            "halo-sync derive --company X --input F",
            "halo-sync render --user U --input F",
            "halo-sync render",
            "halo-sync sync",
            "halo-sync sync con_1 --exit-code",
            "halo-sync sync con_1 --since 24h --full",
            "halo-sync sync --company X --since 24h",
            "halo-sync sync --since 24h",
            "halo-sync audit",
            "halo-sync audit con_1 --all --sample 5",
            "halo-sync connect",
            "halo-sync connect stripe --api-key-file k --wait 5",
            "halo-sync connect hubspot --wait 601",
            "halo-sync jobs retry",
            "halo-sync jobs retry job_1 --failed",
            "halo-sync keys create --name x",
            "halo-sync keys rotate key_1 --now --overlap 24h",
            "halo-sync keys rotate",
            "halo-sync keys identity rotate --now --overlap 1h",
            "halo-sync credentials forget",
            "halo-sync orgs create",
            "halo-sync orgs set org_a",
            "halo-sync orgs set org_a --origin https://a.example --any-origin",
            "halo-sync orgs rm",
            "halo-sync serve --demo --no-worker",
            "halo-sync version -v -q",
            "halo-sync webhooks replay",
            "halo-sync webhooks replay --connection stripe",
            "halo-sync webhooks replay evt_1 --since 24h",
            "halo-sync webhooks list --since yesterday",
            "halo-sync webhooks register",
        ];
        for line in bad {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
        let good = [
            "halo-sync",
            "halo-sync serve --demo",
            "halo-sync connections",
            "halo-sync connect stripe --api-key-file -",
            "halo-sync sync con_1 --full --stream customers --stream prices",
            "halo-sync sync con_1 --dry-run --exit-code",
            "halo-sync sync --company X --dry-run --exit-code",
            "halo-sync sync con_1 --company X",
            "halo-sync sync con_1 --since 24h --dry-run",
            "halo-sync audit con_1 --sample 50 --repair --json",
            "halo-sync audit con_1 --all",
            "halo-sync derive --input - --json",
            "halo-sync health --input - --explain",
            "halo-sync render --company X --user U --explain --budget 500",
            "halo-sync render --company X",
            "halo-sync render --user U",
            "halo-sync jobs retry --failed",
            "halo-sync companies link cus_1 acme --connection stripe",
            "halo-sync migrate",
            "halo-sync keys create --class publishable --name web --origin https://app.acme.com --origin https://*.acme.com --expires 90d",
            "halo-sync keys rotate key_1 --overlap 2h",
            "halo-sync keys identity",
            "halo-sync keys identity create --org org_a",
            "halo-sync keys identity rotate --now",
            "halo-sync credentials",
            "halo-sync credentials rotate --retire",
            "halo-sync orgs",
            "halo-sync orgs create --name Acme",
            "halo-sync orgs create org_acme --name Acme",
            "halo-sync orgs set org_acme --identity-verification on --origin https://app.acme.com",
            "halo-sync orgs rm org_acme --confirm org_acme",
            "halo-sync webhooks",
            "halo-sync webhooks list --type invoice.* --state failed --company acme --since 7d --until 2026-11-22",
            "halo-sync webhooks replay evt_1 dlv_2 --detach",
            "halo-sync webhooks replay --company acme",
            "halo-sync webhooks replay --connection stripe --since 24h --state failed",
            "halo-sync webhooks show evt_1 --body",
            "halo-sync webhooks register stripe --url https://halo.example.com",
        ];
        for line in good {
            Cli::try_parse_from(line.split(' ')).unwrap_or_else(|e| panic!("{line}: {e}"));
        }
    }
}
