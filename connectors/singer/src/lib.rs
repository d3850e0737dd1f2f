//! The Singer bridge (experimental): any Singer tap as a source, as a program of its own.
//!
//! Written against the Singer specification (`SPEC.md` 0.3.0 of singer-io/getting-started) and the messages of the
//! Meltano SDK for taps. How it is used: `docs/singer.md`; why it is so: ADR 0047.
//!
//! | module | what is in it |
//! | --- | --- |
//! | `config` | settings of a connection, checked |
//! | `kinds` | what a stream's records can be, and their fields |
//! | `value` | values by their path in a record, exact |
//! | `mapping` | a record by the settings, in the vocabulary |
//! | `message` | the lines of the protocol |
//! | `workplace` | a private folder with the files that a tap is given |
//! | `tap` | a running tap |
//! | `keeper` | the process that ends a tap with everything it started |
//! | `session` | check, plan, pages |

mod config;
mod keeper;
mod kinds;
mod mapping;
mod message;
mod session;
mod tap;
mod value;
mod workplace;

use std::sync::Arc;

use connector_sdk::{
    AuthKind, Connector, ConnectorError, DynConnector, Extract, FactsError, Io, Programs, RateBudget, Record,
    Role, Secrets, Session, Spec, StreamSpec, WebhookSource,
};

pub use config::{AccountMode, Config, Shown, StreamMap};
pub use keeper::keep;
pub use kinds::Kind;
pub use value::Source;

/// The only stream: what a tap calls a stream is a part of the id.
pub const STREAM: &str = "records";
/// Version of the translation. Raise it with every change of what [`mapping`] makes of a record.
const FACTS_VERSION: u32 = 1;

/// The connector, with the programs that it may run and the taps that wait for their next page to be asked for.
#[derive(Debug, Clone, Default)]
pub struct Singer {
    programs: Arc<Programs>,
    waiting: Arc<tap::Waiting>,
}

impl Connector for Singer {
    type Config = Config;

    fn spec(&self) -> Spec {
        Spec {
            id: "singer",
            display_name: "Singer (experimental)",
            role: Role::Any,
            auth: vec![
                AuthKind::ApiKey {
                    help: "The secret that the tap needs, in one word: a key, or a JSON object without blanks. The \
                           setting `config` says where the tap gets it: `{secret}`, or `{secret.MEMBER}`.",
                },
                AuthKind::NoSecret,
            ],
            api_version: "Singer 0.3",
            default_base_url: "the tap's own",
            streams: vec![StreamSpec {
                name: STREAM,
                about: "Every record of the tap's streams that the settings name. Nothing can be read by its id, and \
                        there is no history of changes.",
                permission: None,
                incremental: true,
                party: true,
                full_pass_deletes: true,
                feed: false,
                order: 0,
            }],
            feed: None,
            webhook_events: &[],
            // A tap makes its calls itself; these are starts of the tap and pages of what it says.
            budget: RateBudget {
                live_per_second: 100.0,
                test_per_second: 100.0,
                per_endpoint_per_second: None,
                concurrency: 4,
            },
            config_schema: schemars::schema_for!(Config).to_value(),
            facts_version: FACTS_VERSION,
        }
    }

    fn open(&self, config: Config, secrets: Secrets, io: Io) -> Result<Box<dyn Session>, ConnectorError> {
        let (programs, waiting) = (self.programs.clone(), self.waiting.clone());
        Ok(Box::new(session::Reading::open(config, secrets, io, programs, waiting)?))
    }

    fn webhooks(&self) -> Option<&dyn WebhookSource> {
        None
    }

    fn facts(&self, record: &Record) -> Result<Extract, FactsError> {
        mapping::facts(record)
    }

    fn with_programs(&self, programs: &Programs) -> Option<Arc<dyn DynConnector>> {
        Some(Arc::new(Self { programs: Arc::new(programs.clone()), waiting: Arc::default() }))
    }
}
