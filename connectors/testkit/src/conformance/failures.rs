//! Providers and networks that fail.

use std::collections::BTreeSet;
use std::time::Duration;

use connector_sdk::{Clock, ConnectorError, DynConnector, Next, ReadMode, Session, SystemClock};
use secrecy::ExposeSecret;

use super::{Provider, fail, ok, open, open_with, read_all, take_split};
use crate::sandbox::faults::{Fault, FaultRule};

const QUICK: Duration = Duration::from_millis(150);

/// The class of an error, for a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Auth,
    RateLimited,
    Transient,
    Protocol,
}

fn class(e: &ConnectorError) -> Option<Class> {
    match e {
        ConnectorError::Auth { .. } => Some(Class::Auth),
        ConnectorError::RateLimited { .. } => Some(Class::RateLimited),
        ConnectorError::Transient(_) => Some(Class::Transient),
        ConnectorError::Protocol(_) => Some(Class::Protocol),
        _ => None,
    }
}

fn table() -> Vec<(Fault, Class)> {
    vec![
        (Fault::TooManyRequests { retry_after: Some("3".to_owned()) }, Class::RateLimited),
        (Fault::TooManyRequests { retry_after: None }, Class::RateLimited),
        (Fault::Status(401), Class::Auth),
        (Fault::Status(403), Class::Auth),
        (Fault::Status(400), Class::Protocol),
        (Fault::Status(408), Class::Transient),
        (Fault::Status(409), Class::Transient),
        (Fault::Status(500), Class::Transient),
        (Fault::Status(502), Class::Transient),
        (Fault::Status(503), Class::Transient),
        (Fault::Status(302), Class::Protocol),
        (Fault::CutBody, Class::Transient),
        (Fault::NoBody, Class::Transient),
        (Fault::Html, Class::Protocol),
        (Fault::Garbage, Class::Protocol),
        (Fault::TruncatedJson, Class::Protocol),
        (Fault::ErrorWith200, Class::Protocol),
        (Fault::Stall, Class::Transient),
    ]
}

async fn one_page(session: &dyn Session, stream: &str) -> Result<(), ConnectorError> {
    let partitions = session.plan(stream, ReadMode::Full, SystemClock.now()).await?;
    for partition in partitions {
        session.read_page(stream, ReadMode::Full, &partition, None).await?;
    }
    Ok(())
}

/// Each way to fail is told apart as the contract says, by pages and by reads by id.
pub async fn each_failure_has_its_class<P: Provider>(connector: &dyn DynConnector) {
    let provider = P::start().await;
    provider.fill();
    for stream in connector.spec().streams {
        let id = provider.ids(stream.name).into_iter().next().unwrap_or_default();
        for (fault, expected) in table() {
            if fault == Fault::Stall {
                continue;
            }
            let session = open(connector, &provider);
            for by_id in [false, true] {
                provider.faults().add(FaultRule::always(&provider.path(stream.name), fault.clone()));
                let result = if by_id {
                    session.read_many(stream.name, std::slice::from_ref(&id)).await.map(drop)
                } else {
                    one_page(session.as_ref(), stream.name).await
                };
                provider.faults().clear();
                let e = result.err().unwrap_or_else(|| fail(&format!("{} {fault:?} went well", stream.name)));
                assert_eq!(class(&e), Some(expected), "{} {fault:?} by id {by_id}: {e}", stream.name);
            }
        }
    }
}

/// A call to a server that never answers ends by itself, and is worth another try.
pub async fn every_call_ends<P: Provider>(connector: &dyn DynConnector) {
    let provider = P::start().await;
    provider.fill();
    let session = ok(open_with(connector, &provider, provider.secrets(), QUICK), "open");
    for stream in connector.spec().streams {
        provider.faults().add(FaultRule::always(&provider.path(stream.name), Fault::Stall));
        let result =
            tokio::time::timeout(Duration::from_secs(20), one_page(session.as_ref(), stream.name)).await;
        provider.faults().clear();
        match ok(result, "the call ends") {
            Err(ConnectorError::Transient(_)) => {}
            other => fail(&format!("{}: {other:?}", stream.name)),
        }
    }
}

/// The time that the provider asks for is the time in the error, to a second, in both forms.
pub async fn retry_after_is_obeyed<P: Provider>(connector: &dyn DynConnector) {
    let provider = P::start().await;
    provider.fill();
    let session = open(connector, &provider);
    let streams = connector.spec().streams;
    let stream = streams.first().map_or_else(|| fail("no stream"), |s| s.name);
    let date = (SystemClock.now() + chrono::TimeDelta::seconds(90)).format("%a, %d %b %Y %H:%M:%S GMT");
    for (header, seconds) in [(Some("7".to_owned()), 7.0), (Some(date.to_string()), 90.0), (None, 1.0)] {
        provider
            .faults()
            .add(FaultRule::next(&provider.path(stream), Fault::TooManyRequests { retry_after: header }));
        let asked = SystemClock.now();
        match one_page(session.as_ref(), stream).await {
            Err(ConnectorError::RateLimited { until }) => {
                #[expect(clippy::cast_precision_loss, reason = "milliseconds of a minute")]
                let wait = (until - asked).num_milliseconds() as f64 / 1_000.0;
                assert!((wait - seconds).abs() <= 1.2, "asked for {seconds} s, got {wait} s");
            }
            other => fail(&format!("{other:?}")),
        }
        provider.faults().clear();
    }
}

/// After a failure in the middle the same session reads on from the same cursor and misses nothing.
pub async fn reading_goes_on_after_a_failure<P: Provider>(connector: &dyn DynConnector) {
    for stream in connector.spec().streams {
        let provider = P::start().await;
        provider.fill();
        let session = open(connector, &provider);
        let partitions = ok(session.plan(stream.name, ReadMode::Full, SystemClock.now()).await, stream.name);
        // Every second call fails, each time in another way.
        let mut faults =
            [Fault::Status(500), Fault::CutBody, Fault::Html, Fault::TruncatedJson].into_iter().cycle();
        let mut seen = BTreeSet::new();
        let mut failed = 0;
        let mut waiting: Vec<_> = partitions.into_iter().map(|p| (p, None)).collect();
        while let Some((partition, mut cursor)) = waiting.pop() {
            loop {
                if let Some(fault) = faults.next() {
                    provider.faults().add(FaultRule::next(&provider.path(stream.name), fault));
                }
                let broken =
                    session.read_page(stream.name, ReadMode::Full, &partition, cursor.as_ref()).await;
                failed += usize::from(broken.is_err());
                provider.faults().clear();
                let page = session.read_page(stream.name, ReadMode::Full, &partition, cursor.as_ref()).await;
                let mut page = ok(page, stream.name);
                seen.extend(page.records.iter().map(|r| r.key.id.clone()));
                match take_split(&mut page, &mut waiting) {
                    Next::More(next) => cursor = Some(next),
                    Next::CaughtUp(_) => break,
                }
            }
        }
        assert!(failed >= 3, "{}: the faults hit", stream.name);
        assert_eq!(seen, provider.ids(stream.name), "{}", stream.name);
    }
}

/// A third of all calls fails, each in another way, in an order that a seed gives: the read gets on from where it stood
/// and misses nothing. Pages whose answer was lost come twice.
pub async fn a_storm_loses_nothing<P: Provider>(connector: &dyn DynConnector) {
    // More failures in a row than chance gives at this rate are a read that gets nowhere.
    const IN_A_ROW: u32 = 50;
    let kinds = vec![
        Fault::TooManyRequests { retry_after: Some("1".to_owned()) },
        Fault::Status(500),
        Fault::Status(503),
        Fault::CutBody,
        Fault::NoBody,
        Fault::Html,
        Fault::TruncatedJson,
    ];
    let provider = P::start().await;
    provider.fill();
    for (seed, stream) in (1..).zip(connector.spec().streams) {
        let session = open(connector, &provider);
        let partitions = ok(session.plan(stream.name, ReadMode::Full, SystemClock.now()).await, stream.name);
        provider.faults().at_random(seed, 333, u32::MAX, kinds.clone());
        let mut seen = BTreeSet::new();
        let mut waiting: Vec<_> = partitions.into_iter().map(|p| (p, None)).collect();
        while let Some((partition, mut cursor)) = waiting.pop() {
            let mut failed = 0;
            loop {
                let page = session.read_page(stream.name, ReadMode::Full, &partition, cursor.as_ref()).await;
                let mut page = match page {
                    Ok(page) => page,
                    Err(e) => {
                        assert!(class(&e).is_some(), "{}: {e}", stream.name);
                        failed += 1;
                        assert!(failed < IN_A_ROW, "{}: gets nowhere: {e}", stream.name);
                        continue;
                    }
                };
                failed = 0;
                seen.extend(page.records.iter().map(|r| r.key.id.clone()));
                match take_split(&mut page, &mut waiting) {
                    Next::More(next) => cursor = Some(next),
                    Next::CaughtUp(_) => break,
                }
            }
        }
        provider.faults().clear();
        assert_eq!(seen, provider.ids(stream.name), "{}", stream.name);
    }
}

/// An item that is no object of the stream is set aside with a reason; the page and the read go on.
pub async fn an_undecodable_item_is_set_aside<P: Provider>(connector: &dyn DynConnector) {
    let provider = P::start().await;
    provider.fill();
    let session = open(connector, &provider);
    for stream in connector.spec().streams {
        provider.faults().add(FaultRule::always(&provider.path(stream.name), Fault::BadItem));
        let all = read_all(session.as_ref(), stream.name, ReadMode::Full).await;
        provider.faults().clear();
        let all = ok(all, stream.name);
        assert_eq!(all.ids(), provider.ids(stream.name), "{}", stream.name);
        assert!(all.rejected >= all.pages, "{}: one on every page", stream.name);
        provider.faults().add(FaultRule::next(&provider.path(stream.name), Fault::BadItem));
        let partitions = session.plan(stream.name, ReadMode::Full, SystemClock.now()).await;
        let mut reasons = Vec::new();
        for partition in ok(partitions, stream.name) {
            let page = session.read_page(stream.name, ReadMode::Full, &partition, None).await;
            reasons.extend(ok(page, stream.name).rejected);
        }
        provider.faults().clear();
        let [rejected] = reasons.as_slice() else { fail(&format!("{}: {reasons:?}", stream.name)) };
        assert_eq!(rejected.stream, stream.name);
        assert!(!rejected.reason.is_empty() && !rejected.payload.is_empty());
    }
}

/// Neither the display nor the debug form of any error or session part holds a secret, even when the
/// provider's own sentence does.
pub async fn no_error_holds_a_secret<P: Provider>(connector: &dyn DynConnector) {
    let provider = P::start().await;
    provider.fill();
    for secrets in [provider.secrets(), provider.wrong_secrets()] {
        let texts: Vec<String> = secrets.0.values().map(|s| s.expose_secret().to_owned()).collect();
        let debug = format!("{secrets:?}");
        assert!(texts.iter().all(|t| !debug.contains(t.as_str())), "{debug}");
        let clean = |e: &ConnectorError| {
            for text in &texts {
                assert!(!format!("{e}").contains(text.as_str()), "display of an error holds a secret");
                assert!(!format!("{e:?}").contains(text.as_str()), "debug of an error holds a secret");
            }
        };
        let session = match open_with(connector, &provider, secrets.clone(), QUICK) {
            Ok(session) => session,
            Err(e) => {
                clean(&e);
                continue;
            }
        };
        if let Err(e) = session.check().await {
            clean(&e);
        }
        for stream in connector.spec().streams {
            for (fault, _) in table() {
                if fault == Fault::Stall {
                    continue;
                }
                provider.faults().add(FaultRule::always(&provider.path(stream.name), fault));
                if let Err(e) = one_page(session.as_ref(), stream.name).await {
                    clean(&e);
                }
                provider.faults().clear();
            }
        }
    }
}
