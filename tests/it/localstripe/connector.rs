//! The connector alone, over its own HTTP client.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use connector_sdk::facts::{CatalogItem, SubscriptionStatus};
use connector_sdk::{
    Budget, ConnectorError, Cursor, DynConnector, Extract, Fact, HttpClient, HttpConfig, Io, Mode, Next,
    Partition, Priority, ReadMode, Record, RecordKey, Secrets, Session, SystemClock,
};
use connector_stripe::Stripe;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::figures::Told;
use super::server::{KEY, Kind, Parts, Server};

/// Small pages, so that every listing has several.
const PAGE: u8 = 7;

pub(super) fn open(base: &str, settings: &[(&str, Value)]) -> Box<dyn Session> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let clock = Arc::new(SystemClock);
    let io = Io {
        http: HttpClient::new(HttpConfig::default(), clock.clone()).unwrap(),
        clock,
        budget: Arc::new(Budget::unlimited()),
        priority: Priority::Backfill,
    };
    let secrets = Secrets(BTreeMap::from([("api_key".to_owned(), SecretString::from(KEY))]));
    let mut config = json!({ "base_url": base, "page_size": PAGE, "partitions": 1 });
    for (name, value) in settings {
        config[*name] = value.clone();
    }
    DynConnector::open(&Stripe, &config, secrets, io).unwrap()
}

/// What reading a stream gave.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) records: Vec<Record>,
    pages: usize,
    /// The checkpoint of each partition, at its end.
    checkpoints: Vec<(Partition, Cursor)>,
}

/// Reads a stream to its end in every partition, those that it is split into as well.
pub(super) async fn read(session: &dyn Session, stream: &str) -> Result<Read, ConnectorError> {
    let now = connector_sdk::Clock::now(&SystemClock);
    let mut out = Read::default();
    let mut todo = session.plan(stream, ReadMode::Full, now).await?;
    while let Some(partition) = todo.pop() {
        let mut cursor: Option<Cursor> = None;
        loop {
            let page = session.read_page(stream, ReadMode::Full, &partition, cursor.as_ref()).await?;
            assert!(page.rejected.is_empty(), "{stream}: {:?}", page.rejected);
            assert!(page.touched.is_empty() && page.tombstones.is_empty());
            assert!(page.records.len() <= usize::from(PAGE));
            assert!(page.records.iter().all(|r| r.key.stream == stream));
            out.records.extend(page.records);
            out.pages += 1;
            assert!(out.pages < 1_000, "{stream}: a listing without end");
            let next = match page.split {
                Some(split) => {
                    todo.extend(split.partitions);
                    Next::More(split.rest)
                }
                None => page.next,
            };
            match next {
                Next::More(next) => cursor = Some(next),
                Next::CaughtUp(done) => {
                    out.checkpoints.push((partition, done));
                    break;
                }
            }
        }
    }
    Ok(out)
}

pub(super) fn facts(record: &Record) -> Extract {
    DynConnector::facts(&Stripe, record).unwrap_or_else(|e| panic!("{}: {e}", record.key))
}

pub(super) fn streams() -> Vec<&'static str> {
    DynConnector::spec(&Stripe).streams.iter().map(|s| s.name).collect()
}

/// What `told` says of every name of a member.
fn ids(told: &Told, members: &[&str]) -> BTreeSet<String> {
    told.values().flat_map(|v| members.iter().filter_map(|m| Some(v.get(m)?.as_str()?.to_owned()))).collect()
}

#[tokio::test]
async fn the_account_tells_what_is_not_offered() {
    let Some(parts) = Parts::find() else { return };
    for (kind, not_offered) in [
        (Kind::Compat, vec!["account"]),
        (Kind::Plain, vec!["account", "prices", "disputes", "subscription_schedules"]),
    ] {
        let server = Server::start(&parts, kind);
        let account = open(&server.base(), &[]).check().await.unwrap();
        assert_eq!(account.not_offered, not_offered, "{kind:?}");
        assert_eq!(account.mode, Mode::Test);
        assert_eq!((account.id, account.name), (None, None));
        assert!(account.missing.is_empty(), "{:?}", account.missing);
    }
}

#[tokio::test]
async fn a_key_that_is_refused_is_an_error_of_the_key() {
    let Some(parts) = Parts::find() else { return };
    let server = Server::start(&parts, Kind::Compat);
    let _ = rustls::crypto::ring::default_provider().install_default();
    let clock = Arc::new(SystemClock);
    let io = Io {
        http: HttpClient::new(HttpConfig::default(), clock.clone()).unwrap(),
        clock,
        budget: Arc::new(Budget::unlimited()),
        priority: Priority::Backfill,
    };
    let secrets = Secrets(BTreeMap::from([("api_key".to_owned(), SecretString::from("rk_test_nothing"))]));
    let session = DynConnector::open(&Stripe, &json!({ "base_url": server.base() }), secrets, io).unwrap();
    match session.check().await {
        Err(ConnectorError::Auth { message, .. }) => assert!(message.contains("401"), "{message}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_stream_is_read_by_pages_and_every_record_has_its_facts() {
    let Some(parts) = Parts::find() else { return };
    let server = Server::start(&parts, Kind::Compat);
    let told = server.fill();
    let session = open(&server.base(), &[]);
    let mut all: BTreeMap<&str, Vec<Record>> = BTreeMap::new();
    for stream in streams() {
        let read = read(&*session, stream).await.unwrap_or_else(|e| panic!("{stream}: {e}"));
        let keys: BTreeSet<&RecordKey> = read.records.iter().map(|r| &r.key).collect();
        assert_eq!(keys.len(), read.records.len(), "{stream}: a record came twice");
        assert_eq!(read.pages, read.records.len().div_ceil(usize::from(PAGE)).max(1), "{stream}");
        for record in &read.records {
            assert!(!facts(record).facts.is_empty(), "{}", record.key);
        }
        all.insert(stream, read.records);
    }

    let keys = |stream: &str| all[stream].iter().map(|r| r.key.id.clone()).collect::<BTreeSet<_>>();
    assert_eq!(keys("customers"), ids(&told, &["customer", "other_customer"]));
    assert_eq!(keys("subscriptions"), ids(&told, &["subscription", "other"]));
    // Every subscription has a plan of its own, and past-due left another one behind.
    assert_eq!(all["prices"].len(), all["subscriptions"].len() + 1);
    assert_eq!(all["products"].len(), all["prices"].len());
    assert_eq!(all["coupons"].len(), 6);
    // One for each subscription but the trial, and a second for past-due.
    assert_eq!(all["invoices"].len(), all["subscriptions"].len());
    // Refunded by hand, and by the capture of a part.
    assert_eq!(all["refunds"].len(), 2);
    assert!(all["disputes"].is_empty());

    // A subscription is whose it is, and its facts name what they lean on.
    let mut statuses: BTreeMap<String, SubscriptionStatus> = BTreeMap::new();
    for record in &all["subscriptions"] {
        let extract = facts(record);
        assert_eq!(extract.party.as_ref().map(|p| p.stream.as_str()), Some("customers"));
        assert!(extract.refs.iter().any(|r| r.stream == "prices"), "{}", record.key);
        assert!(extract.refs.iter().any(|r| r.stream == "products"), "{}", record.key);
        let Some(Fact::Subscription(subscription)) = extract.facts.first() else {
            panic!("{}: {:?}", record.key, extract.facts)
        };
        assert!(subscription.items.iter().all(|i| i.period_end.is_some()), "{}", record.key);
        statuses.insert(record.key.id.clone(), subscription.status);
    }
    for (name, line) in told.iter().filter(|(_, line)| line.get("subscription").is_some()) {
        let status = statuses[line["subscription"].as_str().unwrap()];
        assert_eq!(serde_json::to_value(status).unwrap(), line["status"], "{name}");
    }
}

/// localstripe shows ten lines of an invoice and pages no further from there; the list itself gives them all.
#[tokio::test]
async fn an_invoice_has_all_its_lines() {
    let Some(parts) = Parts::find() else { return };
    let server = Server::start(&parts, Kind::Compat);
    let told = server.fill();
    let session = open(&server.base(), &[]);
    let mut lines = BTreeMap::new();
    for record in read(&*session, "invoices").await.unwrap().records {
        let Some(Fact::Invoice(invoice)) = facts(&record).facts.into_iter().next() else { panic!() };
        assert!(!invoice.lines_incomplete, "{}", record.key);
        lines.insert(invoice.account.unwrap(), invoice.lines.len());
    }
    // Twelve things sold once, and the subscription.
    assert_eq!(lines[told["long-invoice"]["customer"].as_str().unwrap()], 13);
}

#[tokio::test]
async fn a_read_by_id_means_what_the_listing_meant() {
    let Some(parts) = Parts::find() else { return };
    let server = Server::start(&parts, Kind::Compat);
    server.fill();
    let session = open(&server.base(), &[]);
    for stream in streams() {
        let listed = read(&*session, stream).await.unwrap().records;
        let wanted: Vec<String> = listed.iter().map(|r| r.key.id.clone()).collect();
        let batch = match session.read_many(stream, &wanted).await {
            // The listing is made by the adapter, the operation is not there.
            Err(ConnectorError::NotOffered(_)) if stream == "prices" => continue,
            other => other.unwrap_or_else(|e| panic!("{stream}: {e}")),
        };
        assert!(batch.rejected.is_empty() && batch.tombstones.is_empty(), "{stream}");
        let found: BTreeMap<&RecordKey, &Record> = batch.records.iter().map(|r| (&r.key, r)).collect();
        assert_eq!(found.len(), listed.len(), "{stream}");
        for record in &listed {
            let [a, b] = [record, found[&record.key]].map(|r| without_nicknames(facts(r)));
            assert_eq!(a, b, "{}", record.key);
        }
    }
}

/// The adapter's listing shows a price beside the plan, a read by id only the plan. A plan's name stands in for
/// a nickname; nothing else may differ.
fn without_nicknames(mut extract: Extract) -> Extract {
    for fact in &mut extract.facts {
        match fact {
            Fact::Subscription(s) => {
                s.items.iter_mut().filter_map(|i| i.price.as_mut()).for_each(|p| p.nickname = None);
            }
            Fact::CatalogItem(CatalogItem::Price(p)) => p.nickname = None,
            _ => {}
        }
    }
    extract
}

#[tokio::test]
async fn what_is_gone_is_told_from_what_is_not_offered() {
    let Some(parts) = Parts::find() else { return };
    let server = Server::start(&parts, Kind::Compat);
    let session = open(&server.base(), &[]);
    for (stream, id) in [
        ("customers", "cus_nobody"),
        ("subscriptions", "sub_nothing"),
        ("invoices", "in_nothing"),
        ("charges", "ch_nothing"),
        ("refunds", "re_nothing"),
        ("coupons", "NOTHING"),
        ("products", "prod_nothing"),
    ] {
        let batch = session.read_many(stream, &[id.to_owned()]).await.unwrap();
        assert_eq!(batch.tombstones, [RecordKey::new(stream, id)], "{stream}");
        assert!(batch.records.is_empty() && batch.rejected.is_empty(), "{stream}");
    }
    for stream in ["prices", "disputes", "subscription_schedules"] {
        match session.read_many(stream, &["x_1".to_owned()]).await {
            Err(ConnectorError::NotOffered(what)) => assert_eq!(what, stream),
            other => panic!("{stream}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn ranges_of_creation_time_hold_everything_once() {
    let Some(parts) = Parts::find() else { return };
    let server = Server::start(&parts, Kind::Compat);
    server.fill();
    // From the moment before the filling, so that more than one range has something in it.
    let session = open(&server.base(), &[("partitions", json!(5))]);
    let whole = open(&server.base(), &[]);
    for stream in ["customers", "subscriptions", "charges"] {
        let [ranges, whole] =
            [read(&*session, stream).await, read(&*whole, stream).await].map(Result::unwrap);
        let keys = |r: &Read| r.records.iter().map(|r| r.key.clone()).collect::<BTreeSet<_>>();
        assert_eq!(keys(&ranges), keys(&whole), "{stream}");
        assert!(ranges.checkpoints.len() > 1, "{stream}: {}", ranges.checkpoints.len());
    }
}

#[tokio::test]
async fn a_later_read_finds_what_changed_in_silence() {
    let Some(parts) = Parts::find() else { return };
    let server = Server::start(&parts, Kind::Compat);
    let mut told = server.fill();
    let session = open(&server.base(), &[]);
    let (_, refunds) = read(&*session, "refunds").await.unwrap().checkpoints.pop().unwrap();
    server.change("silent", &mut told);

    let now = connector_sdk::Clock::now(&SystemClock);
    let mut seen: BTreeMap<&str, Vec<Record>> = BTreeMap::new();
    for (stream, checkpoint) in [("refunds", Some(refunds)), ("subscriptions", None), ("products", None)] {
        let partition = session.plan(stream, ReadMode::Incremental, now).await.unwrap().pop().unwrap();
        let mut cursor = checkpoint;
        loop {
            let page =
                session.read_page(stream, ReadMode::Incremental, &partition, cursor.as_ref()).await.unwrap();
            seen.entry(stream).or_default().extend(page.records);
            match page.next {
                Next::More(next) => cursor = Some(next),
                Next::CaughtUp(_) => break,
            }
        }
    }
    assert_eq!(seen["refunds"].len(), 3, "two from the filling, within the overlap, and the new one");
    let percent = told["percent"]["subscription"].as_str().unwrap();
    let record = seen["subscriptions"].iter().find(|r| r.key.id == percent).unwrap();
    let extract = facts(record);
    let Some(Fact::Subscription(subscription)) = extract.facts.first() else { panic!("{extract:?}") };
    assert_eq!(subscription.items[0].quantity, Some(5));
    let renamed = seen["products"].iter().filter(|r| {
        facts(r).facts.iter().any(|f| match f {
            Fact::CatalogItem(CatalogItem::Product(p)) => p.name.as_deref() == Some("Community"),
            _ => false,
        })
    });
    assert_eq!(renamed.count(), 1);
}

/// Without the adapter: oldest first, no prices, expansions that are refused. What is there is read all the
/// same.
#[tokio::test]
async fn the_server_without_its_adapter_is_read_too() {
    let Some(parts) = Parts::find() else { return };
    let server = Server::start(&parts, Kind::Plain);
    let told = server.fill();
    let session = open(&server.base(), &[]);
    for stream in streams() {
        let read = match read(&*session, stream).await {
            Err(ConnectorError::NotOffered(what)) => {
                assert_eq!(what, stream);
                assert!(["prices", "disputes", "subscription_schedules"].contains(&stream), "{stream}");
                continue;
            }
            other => other.unwrap_or_else(|e| panic!("{stream}: {e}")),
        };
        for record in &read.records {
            assert!(!facts(record).facts.is_empty(), "{}", record.key);
        }
        let keys: BTreeSet<String> = read.records.iter().map(|r| r.key.id.clone()).collect();
        match stream {
            "customers" => assert_eq!(keys, ids(&told, &["customer", "other_customer"])),
            "subscriptions" => assert_eq!(keys, ids(&told, &["subscription", "other"])),
            _ => assert_eq!(keys.len(), read.records.len(), "{stream}"),
        }
    }
}
