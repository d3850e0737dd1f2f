//! What a halo-sync connector is written against.
//!
//! A connector is one crate that depends on this one and on nothing else of ours. It implements
//! [`Connector`] (what the provider offers, how its settings look, what a record means) and
//! [`Session`] (reading, with the settings and secrets of one connection). The engine owns
//! everything else: the page loop, retries, the rate budget, transactions, metrics.
//!
//! | module | what is in it |
//! | --- | --- |
//! | [`connector`] | the traits, typed for authors and object-safe for the engine |
//! | [`spec`] | what a connector says about itself: streams, authentication, budgets |
//! | [`record`] | records, pages, cursors, partitions |
//! | [`paging`] | lists by offset or page number, read without losing rows |
//! | [`programs`] | programs of others that connectors may run |
//! | [`sample`] | records that a connector shows what it does with |
//! | [`facts`] | the vocabulary that every provider is translated into |
//! | [`webhook`] | raw requests and the events in them |
//! | [`endpoint`] | webhook endpoints, made and looked after through the API |
//! | [`signature`] | HMAC signatures, checked in constant time |
//! | [`http`] | the HTTP client with the rate budget in it |
//! | [`budget`] | the rate budget of one provider account |
//! | [`error`] | [`ConnectorError`], classified where the response is seen |
//! | [`clock`] | time as a parameter |
//! | [`access`] | access tokens that change while a session is open |

pub mod access;
pub mod budget;
pub mod clock;
pub mod connector;
pub mod endpoint;
pub mod error;
pub mod facts;
pub mod http;
pub mod paging;
pub mod programs;
pub mod record;
pub mod sample;
pub mod signature;
pub mod spec;
pub mod webhook;

pub use access::AccessTokens;
pub use budget::{Budget, BudgetStats, Daily, Demand, Fill, Grant, Permit, Priority, Quota, Throttle};
pub use clock::{Clock, SystemClock, Timestamp};
pub use connector::{Account, Connector, DynConnector, Extract, Io, Mode, Secrets, Session};
pub use endpoint::{Endpoint, EndpointAdmin, NewEndpoint};
pub use error::{ConnectorError, FactsError};
pub use facts::Fact;
pub use http::{Answer, Call, Dialect, HttpClient, HttpConfig, Refusal};
pub use programs::Programs;
pub use record::{
    Batch, Changed, Cursor, Next, Page, Partition, ReadMode, Record, RecordKey, Rejected, Split, Touch,
};
pub use sample::Sample;
pub use spec::{AuthKind, FeedSpec, RateBudget, Role, Spec, StreamSpec};
pub use webhook::{Event, RawRequest, SignatureError, WebhookAddress, WebhookSource};
