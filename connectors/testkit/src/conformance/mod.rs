//! The suite that every connector passes.
//!
//! A connector's author writes a [`Provider`] (a sandbox server, how to fill it, what is true in it) and
//! one line, `connector_testkit::conformance!(MyConnector, MyProvider);`, which becomes a test for each
//! rule of the contract.

pub mod contract;
pub mod failures;
pub mod feed;
pub mod reading;
pub mod webhooks;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use connector_sdk::{
    Budget, Clock, ConnectorError, Cursor, DynConnector, HttpClient, HttpConfig, Io, Next, Page, Partition,
    Priority, ReadMode, Record, Secrets, Session, SystemClock, Timestamp,
};
use http::HeaderMap;
use secrecy::SecretString;
use serde_json::Value;

use crate::sandbox::faults::Faults;

/// A provider's sandbox as the suite needs it. Each test starts its own.
#[async_trait]
pub trait Provider: Sized + Send + Sync {
    /// Starts an empty account.
    async fn start() -> Self;

    /// Puts at least three pages of objects into every stream, at the page size of [`Self::config`].
    fn fill(&self);

    /// Settings that point to the sandbox, with small pages.
    fn config(&self) -> Value;

    /// The right secrets.
    fn secrets(&self) -> Secrets;

    /// Secrets that the provider refuses. Their text must be nowhere in an error.
    fn wrong_secrets(&self) -> Secrets;

    /// The ids that a full read of a stream must give.
    fn ids(&self, stream: &str) -> BTreeSet<String>;

    /// Adds an object to a stream as if it had just happened; `None` where the sandbox cannot.
    fn create(&self, stream: &str) -> Option<String>;

    /// Deletes an object at the provider; false where objects of this stream are never deleted.
    fn delete(&self, stream: &str, id: &str) -> bool;

    /// The faults of the sandbox.
    fn faults(&self) -> &Faults;

    /// The beginning of the path of every call that reads this stream.
    fn path(&self, stream: &str) -> String;

    /// Takes the permission to read a stream away.
    fn forbid(&self, stream: &str);

    /// A delivery signed at that time: headers, body, and the secret that verifies it. `None` for a
    /// provider without webhooks.
    fn delivery(&self, at: Timestamp) -> Option<Delivery>;
}

/// A webhook delivery.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Headers, the signature among them.
    pub headers: HeaderMap,
    /// The public URL.
    pub url: String,
    /// The body.
    pub body: Vec<u8>,
    /// The secret that verifies it.
    pub secret: SecretString,
    /// How far the signed time may be off; `None` where the provider signs no time.
    pub tolerance: Option<Duration>,
}

/// Fails the test. The suite is a library, in which asserting macros alone do not say enough.
#[expect(clippy::panic, reason = "a suite fails by panicking")]
pub(crate) fn fail(what: &str) -> ! {
    panic!("{what}")
}

/// The value, or a failed test.
pub(crate) fn ok<T, E: std::fmt::Debug>(result: Result<T, E>, what: &str) -> T {
    result.unwrap_or_else(|e| fail(&format!("{what}: {e:?}")))
}

thread_local! {
    /// Making a client reads the system's certificates, which takes as long as hundreds of calls, and the
    /// suite opens hundreds of sessions. Tests run on threads of their own, so a client serves one test.
    static CLIENTS: RefCell<Vec<(Duration, HttpClient)>> = const { RefCell::new(Vec::new()) };
}

fn client(limit: Duration) -> HttpClient {
    CLIENTS.with_borrow_mut(|clients| {
        if let Some((_, client)) = clients.iter().find(|(l, _)| *l == limit) {
            return client.clone();
        }
        let config = HttpConfig { total_timeout: limit, ..HttpConfig::default() };
        let client = ok(crate::http_client(config), "HTTP client");
        clients.push((limit, client.clone()));
        client
    })
}

/// What a session is opened with: no waiting, so that a suite takes seconds.
pub(crate) fn io(limit: Duration) -> Io {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    Io { http: client(limit), clock, budget: Arc::new(Budget::unlimited()), priority: Priority::Backfill }
}

/// Opens a session with the provider's settings and those secrets.
pub(crate) fn open_with<P: Provider>(
    connector: &dyn DynConnector,
    provider: &P,
    secrets: Secrets,
    limit: Duration,
) -> Result<Box<dyn Session>, ConnectorError> {
    connector.open(&provider.config(), secrets, io(limit))
}

/// Opens a session that should work.
pub(crate) fn open<P: Provider>(connector: &dyn DynConnector, provider: &P) -> Box<dyn Session> {
    ok(open_with(connector, provider, provider.secrets(), Duration::from_secs(20)), "open")
}

/// Pages that one partition may have before the suite calls it endless.
const PAGES: usize = 10_000;

/// Everything that a full read of a stream gave.
#[derive(Debug, Default)]
pub struct Everything {
    /// Records by id, the last reading of each.
    pub records: BTreeMap<String, Record>,
    /// Every cursor that was handed out, with the partition that it belongs to.
    pub cursors: Vec<(Partition, Cursor)>,
    /// The cursors at the ends of the partitions.
    pub ends: Vec<(Partition, Cursor)>,
    /// How many items were set aside.
    pub rejected: usize,
    /// How many pages there were.
    pub pages: usize,
}

impl Everything {
    fn take(&mut self, stream: &str, page: Page) {
        self.pages += 1;
        self.rejected += page.rejected.len();
        for record in page.records {
            if record.key.stream == stream {
                self.records.insert(record.key.id.clone(), record);
            }
        }
    }

    /// The ids of the records.
    #[must_use]
    pub fn ids(&self) -> BTreeSet<String> {
        self.records.keys().cloned().collect()
    }
}

/// Reads a stream to its end, as the engine does: every partition, and those that are split off.
///
/// # Errors
/// The first error of any page.
///
/// # Panics
/// When the read does not end.
pub async fn read_all(
    session: &dyn Session,
    stream: &str,
    mode: ReadMode,
) -> Result<Everything, ConnectorError> {
    let partitions = session.plan(stream, mode, SystemClock.now()).await?;
    assert!(!partitions.is_empty(), "{stream}: a plan has at least one partition");
    let mut out = Everything::default();
    let mut waiting: Vec<(Partition, Option<Cursor>)> = partitions.into_iter().map(|p| (p, None)).collect();
    while let Some((partition, mut cursor)) = waiting.pop() {
        loop {
            assert!(out.pages < PAGES, "{stream}: the read does not end");
            let mut page = session.read_page(stream, mode, &partition, cursor.as_ref()).await?;
            let next = take_split(&mut page, &mut waiting);
            out.take(stream, page);
            match next {
                Next::More(next) => {
                    out.cursors.push((partition.clone(), next.clone()));
                    cursor = Some(next);
                }
                Next::CaughtUp(end) => {
                    out.ends.push((partition, end));
                    break;
                }
            }
        }
    }
    Ok(out)
}

/// Reads one partition on from a cursor; partitions split off on the way included.
pub(crate) async fn read_on(
    session: &dyn Session,
    stream: &str,
    mode: ReadMode,
    partition: &Partition,
    cursor: Option<Cursor>,
) -> Result<Everything, ConnectorError> {
    let mut out = Everything::default();
    let mut waiting = vec![(partition.clone(), cursor)];
    while let Some((partition, mut cursor)) = waiting.pop() {
        loop {
            assert!(out.pages < PAGES, "{stream}: the read does not end");
            let mut page = session.read_page(stream, mode, &partition, cursor.as_ref()).await?;
            let next = take_split(&mut page, &mut waiting);
            out.take(stream, page);
            match next {
                Next::More(next) => cursor = Some(next),
                Next::CaughtUp(end) => {
                    out.ends.push((partition, end));
                    break;
                }
            }
        }
    }
    Ok(out)
}

/// Takes the page's offer to be divided, if it makes one; how this partition goes on.
pub(crate) fn take_split(page: &mut Page, waiting: &mut Vec<(Partition, Option<Cursor>)>) -> Next {
    match page.split.take() {
        Some(split) => {
            waiting.extend(split.partitions.into_iter().map(|p| (p, None)));
            Next::More(split.rest)
        }
        None => page.next.clone(),
    }
}

/// Makes a test of each rule. The connector is an expression, the provider a type.
#[macro_export]
macro_rules! conformance {
    ($connector:expr, $provider:ty) => {
        $crate::conformance! { @tests $connector, $provider;
            contract::spec_is_whole
            contract::config_is_strict
            contract::check_tells_account_and_mode
            contract::check_refuses_wrong_secrets
            contract::check_names_missing_permissions
            contract::an_unknown_stream_is_refused
            contract::facts_are_pure_and_name_declared_streams
            contract::samples_are_understood
            reading::every_stream_is_read_completely
            reading::an_empty_account_is_no_trouble
            reading::reading_resumes_from_every_cursor
            reading::strange_cursors_are_refused
            reading::an_incremental_read_sees_what_is_new
            reading::a_wrong_clock_loses_nothing
            reading::a_page_asked_for_again_is_the_same
            reading::a_caught_up_full_read_stays_caught_up
            reading::objects_deleted_while_reading_hide_no_other
            reading::objects_added_while_reading_hide_no_other
            reading::reads_by_id_agree_with_pages
            reading::what_is_gone_is_a_tombstone
            reading::strange_ids_name_nothing_else
            failures::each_failure_has_its_class
            failures::every_call_ends
            failures::retry_after_is_obeyed
            failures::reading_goes_on_after_a_failure
            failures::a_storm_loses_nothing
            failures::an_undecodable_item_is_set_aside
            failures::no_error_holds_a_secret
            feed::what_changes_is_named_once
            feed::following_resumes_from_every_cursor
            feed::a_place_that_is_none_is_refused
            feed::a_missing_permission_is_named
            webhooks::good_deliveries_are_taken
            webhooks::bad_deliveries_are_refused
            webhooks::old_and_future_deliveries_are_refused
            webhooks::routing_is_pure_and_names_declared_streams
        }
    };
    (@tests $connector:expr, $provider:ty; $($module:ident :: $name:ident)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                $crate::conformance::$module::$name::<$provider>(&$connector).await;
            }
        )*
    };
}
